// Package backup is the file format of a backup: what a node's durable quotas need to
// live on in another data directory, with a checksum of all of it.
//
// A backup is
//
//	"headgate backup\nformat 2\n"
//	sections  kind(1) chunks 0(4): the secret, each group, the manifest
//	end       0(1) SHA-256(32) of everything before it
//
// where a chunk is length(4, above 0) and as many bytes. The secret is that of the key
// hash, without which no counter is found again. A group is a snapshot of its ledger, with
// checksums of its own: see package ledger. The manifest is JSON, behind what it describes.
//
// It is not a store, knows no files and no node: [Write] writes to a writer, [Read] reads
// from a reader. It is not encrypted: who has it can tell which values a key stands for, by
// trying.
//
// Errors of Read: a *[DamagedError] says which part is damaged, and how far the reader had
// got; storage.ErrNewerFormat is in that of a file that a newer version wrote.
//
// See docs/adr/0024-backups-and-copies.md.
package backup
