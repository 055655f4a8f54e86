package admin

// A BackupRequest is the body of POST /v1/backup, which is answered with a file: see
// package backup.
type BackupRequest struct {
	Reason string `json:"reason,omitempty"` // for the audit log
}
