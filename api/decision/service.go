package decision

import (
	"sync"

	"github.com/headgate/headgate/api"
)

// A Service decides checks at a desk: many at once by Batches and NewStream. A
// single one takes Decode or DecodePeek, the desk, and Append. Its fields are set
// once, before first use. It is safe for concurrent use.
type Service struct {
	Desk   *api.Desk
	Bounds api.Bounds
	// Reservations keeps what Reserve makes; nil: Reserve, Extend, Settle and Cancel are
	// not served.
	Reservations Reserver

	works sync.Pool // of *work
}
