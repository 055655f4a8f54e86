package api

import "github.com/headgate/headgate/limiter"

// A Decider decides calls: it sets the Decision of every charge.
//
// Decide never blocks. If it returns true, c is decided and is the caller's
// again. If it returns false, the Decider owns c until it calls c.Finish, from
// any goroutine that is not in a Decide: doors hold a lock while they decide, which
// finishing a call takes. Nobody waits for c beyond c.Deadline.
type Decider interface {
	Decide(now limiter.Instant, c *limiter.Call) (done bool)
}
