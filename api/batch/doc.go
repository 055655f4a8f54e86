// Package batch decides requests that carry many items, each as if it had come
// alone: in groups, so that the memory of one item's counters arrives while others
// are read, and few exchanges are held, however long the request is.
//
// It knows no item: what one is, and how it is answered, is a door's to say. Items
// are field 1 of the request and of the response.
//
// The main type is [Batch], which a [Service] lends. A Service is safe for
// concurrent use; a Batch has one owner at a time.
//
// Errors about a whole request are *api.Fault; those of an item are in its answer.
//
// See docs/adr/0001-non-blocking-decider.md.
package batch
