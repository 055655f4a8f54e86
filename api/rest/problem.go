package rest

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/headers"
)

// A problem is an error, or a denial, as RFC 9457 spells it. An empty Type means
// that the status says it all.
type problem struct {
	Type     string    `json:"type,omitempty"`
	Title    string    `json:"title"`
	Status   int       `json:"status"`
	Detail   string    `json:"detail,omitempty"`
	Field    string    `json:"field,omitempty"`
	Violated []string  `json:"violated-policies,omitempty"`
	Decision *decision `json:"decision,omitempty"`
}

// write sends p.
func (p problem) write(w http.ResponseWriter) {
	body, err := json.Marshal(p)
	if err != nil { // it has only texts and numbers
		panic(err)
	}
	header := w.Header()
	header.Set("Content-Type", "application/problem+json")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("Cache-Control", "no-store")
	w.WriteHeader(p.Status)
	_, _ = w.Write(body) // an error is the reader's: it went away
}

// denial is the problem that x, which was denied, is.
func denial(x *api.Exchange, status int) problem {
	name, why := headers.DeniedBy(x), headers.Degraded(x)
	p := problem{
		Type: headers.ProblemType(why), Title: "Quota exceeded", Status: status,
		Detail: "denied by limit " + strconv.Quote(name), Violated: []string{name},
	}
	if p.Type == headers.ReducedCapacity {
		p.Title = "Temporarily reduced capacity"
		p.Detail += ", which was decided without its counter: " + why.String()
	}
	return p
}

// fault is the problem that err is, a *api.Fault of a request.
func fault(err error) problem {
	var f *api.Fault
	if !errors.As(err, &f) {
		return problem{Title: "Internal error", Status: http.StatusInternalServerError}
	}
	p := problem{Title: "Bad request", Status: http.StatusBadRequest, Detail: f.Error(), Field: f.Field}
	switch f.Reason {
	case api.Malformed, api.OutOfBounds:
	case api.UnknownDomain:
		p.Title, p.Status = "Unknown domain", http.StatusNotFound
	case api.TooManyCharges:
		p.Title, p.Status = "Too many charges", http.StatusUnprocessableEntity
	case api.NoReservation:
		p.Title, p.Status = "No such reservation", http.StatusNotFound
	case api.OtherReservation:
		p.Title, p.Status = "Another reservation", http.StatusConflict
	case api.BusyReservation:
		p.Title, p.Status = "Reservation in use", http.StatusConflict
	case api.EndedReservation:
		p.Title, p.Status = "Reservation ended", http.StatusConflict
	case api.LateReservation, api.FullReservations:
		p.Title, p.Status = "Not decided", http.StatusServiceUnavailable
	case api.NotRemembered:
		p.Title, p.Status = "Request id not remembered", http.StatusUnprocessableEntity
	case api.Reused:
		p.Title, p.Status = "Request id reused", http.StatusConflict
	}
	return p
}

// refuse counts and sends err.
func (h *Handler) refuse(w http.ResponseWriter, err error) {
	h.Desk.CountFault()
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		problem{
			Title: "Content too large", Status: http.StatusRequestEntityTooLarge,
			Detail: "body: at most " + strconv.FormatInt(tooLarge.Limit, 10) + " bytes",
		}.write(w)
		return
	}
	fault(err).write(w)
}
