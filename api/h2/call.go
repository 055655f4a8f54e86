package h2

// A Unary answers one unary method on a connection's read loop. None of its
// methods blocks; for one call they run one after another. Several calls of a
// connection are begun before the first of them is prepared, and prepared before
// the first is decided, so that what they fetch from far memory is fetched at once.
type Unary interface {
	// Begin reads c.In, and sets c.Deadline if Decide may return false. It may
	// c.Fail: then neither Decide nor Expire follows, but Answer does, which
	// must release what Begin took. After a panic none of them runs, and
	// c.State is nil. Begin does not run for requests without a good message.
	Begin(c *Call)
	// Prepare runs if Begin did not fail the call, when all calls of a group have
	// begun and before the first of them is decided: what Begin asked far memory
	// for is there. If it returns true it runs once more, after the others of the
	// group. It may c.Fail as Begin may.
	Prepare(c *Call) (again bool)
	// Decide decides the call. If it returns false, the answer comes later:
	// c.Finish is called once, from another goroutine. Then c.In is not valid
	// any more when Decide has returned.
	Decide(c *Call) (done bool)
	// Answer appends the response message to dst, or fails the call, and
	// releases what Begin took. It also runs if nobody reads the answer any
	// more.
	Answer(dst []byte, c *Call) []byte
	// Expire is Answer for a call that is not finished at its deadline: it
	// answers without what Decide waits for. Finish then has no effect.
	Expire(dst []byte, c *Call) []byte
}

// A Call is one unary call. It is lent: nothing of it may be kept after Answer
// or Expire.
type Call struct {
	// In is the request's message.
	In []byte
	// Now is when the frames were read, by Config.Now.
	Now int64
	// Deadline is by when the call is answered; 0: there is none. When Decide
	// runs it is no later than the caller's own (grpc-timeout).
	Deadline int64
	// Shed says that the read loop is late: the call should be answered with as
	// little work as can be.
	Shed bool
	// State is the Unary's own.
	State any

	method  *method
	conn    *conn
	stream  *stream // nil if the request came in one piece
	id      uint32
	timeout int64 // the caller's, relative; 0: none
	code    uint32
	message string
	begun   bool // Begin ran, and Answer or Expire must
	expired bool // guarded by conn.mu
	index   int  // to conn.calls
}

// Fail makes the call's answer a gRPC status of code, which is not 0 (OK), and
// message.
func (c *Call) Fail(code uint32, message string) { c.code, c.message = code, message }

// Failed reports whether Fail was called.
func (c *Call) Failed() bool { return c.code != 0 }

// Finish answers a call for which Decide returned false. It does not wait for the
// peer, but for the connection's lock: for as long as a batch of calls takes.
func (c *Call) Finish() {
	k := c.conn
	k.mu.Lock()
	defer k.mu.Unlock()
	if !c.expired {
		k.finish(c)
		k.flushSoon()
	}
}

// A Refusal is a gRPC status that refuses a request; the zero Refusal does not.
type Refusal struct {
	Code    uint32
	Message string
}

// The gRPC status codes that this package itself sends.
const (
	statusInvalidArgument   = 3
	statusDeadlineExceeded  = 4
	statusResourceExhausted = 8
	statusUnimplemented     = 12
	statusInternal          = 13
)
