package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/headgate/headgate/api"
)

// Bounds of a request that changes something.
const (
	// BodyBytesMax is how large its body may be.
	BodyBytesMax = 64 << 10
	// UserBytesMax is how long a caller's name may be, in printable ASCII.
	UserBytesMax = 128
)

// UserHeader is the request header in which callers may say who they are.
// Nobody checks it: it is for the audit log, beside the remote address.
const UserHeader = "X-Headgate-User"

// A Caller is who asks for a change.
type Caller struct {
	Remote string // host:port of the connection
	User   string // what UserHeader says; may be empty
}

// A Refusal is why a change was not made, for the caller.
type Refusal struct { //nolint:errname // one of our words: a refusal is an answer
	Status int    // of HTTP, 4xx or 5xx
	Text   string // one line
}

func (r *Refusal) Error() string { return r.Text }

// refuse returns a Refusal with a formatted text.
func refuse(status int, format string, args ...any) *Refusal {
	return &Refusal{status, fmt.Sprintf(format, args...)}
}

// change serves a route that changes something: every such route is made by it.
// do gets the caller and the body, and returns what to answer, as JSON, or a Stream. An
// error that is not a Refusal is answered with 500.
//
// A web page that the operator's browser shows can send requests to a loopback
// address. So only POST with a JSON body is taken, which a page of another origin
// can't send without asking first, and nothing here says yes to such a question;
// what names another origin (Origin, Sec-Fetch-Site) is refused all the same.
// That the Host is a loopback name, against rebinding, is checked for every route.
func change[In any](readOnly bool, do func(Caller, *In) (any, error)) http.HandlerFunc {
	origins := http.NewCrossOriginProtection()
	return func(w http.ResponseWriter, r *http.Request) {
		out, err := func() (any, error) {
			who, in := Caller{Remote: r.RemoteAddr}, new(In)
			switch {
			case readOnly:
				return nil, refuse(http.StatusForbidden, "nothing can be changed here: admin.read_only is set")
			case r.Method != http.MethodPost:
				w.Header().Set("Allow", http.MethodPost)
				return nil, refuse(http.StatusMethodNotAllowed, "changes are made with POST")
			case origins.Check(r) != nil:
				return nil, refuse(http.StatusForbidden, "a page of another origin may change nothing here")
			}
			if err := readUser(r, &who); err != nil {
				return nil, err
			}
			if err := readBody(w, r, in); err != nil {
				return nil, err
			}
			return do(who, in)
		}()
		if err != nil {
			answerError(w, err)
			return
		}
		if stream, ok := out.(Stream); ok {
			stream.serve(w)
			return
		}
		answer(w, out)
	}
}

// A Stream writes an answer that is a file. If it fails, what was written is not one.
type Stream func(http.ResponseWriter) error

func (s Stream) serve(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := s(w); err != nil {
		panic(http.ErrAbortHandler) // the reader has to see that it was cut off
	}
}

// answerError answers with the line of text that err is.
func answerError(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	var refused *Refusal
	if errors.As(err, &refused) {
		status = refused.Status
	}
	http.Error(w, "admin: "+err.Error(), status)
}

// readUser takes over what UserHeader says.
func readUser(r *http.Request, who *Caller) error {
	values := r.Header.Values(UserHeader)
	if len(values) == 0 {
		return nil
	}
	who.User = values[0]
	if len(values) > 1 || len(who.User) > UserBytesMax || strings.ContainsFunc(who.User, func(c rune) bool { return c < ' ' || c > '~' }) {
		return refuse(http.StatusBadRequest, "%s must be one value of at most %d printable ASCII characters", UserHeader, UserBytesMax)
	}
	return nil
}

// readBody reads one JSON object without unknown members into in.
func readBody(w http.ResponseWriter, r *http.Request, in any) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return refuse(http.StatusUnsupportedMediaType, "Content-Type must be application/json, not %q", r.Header.Get("Content-Type"))
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, BodyBytesMax))
	d.DisallowUnknownFields()
	err = d.Decode(in)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows the object")
		}
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return refuse(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", BodyBytesMax)
	case err != nil:
		return refuse(http.StatusBadRequest, "the body is not what this route takes: %s", api.JSONProblem(err))
	}
	return nil
}
