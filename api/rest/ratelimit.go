package rest

import (
	"errors"
	"io"
	"net/http"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/rls"
)

// rateLimit answers POST /json as Envoy's reference service does: a
// RateLimitRequest in protobuf's JSON, answered by a RateLimitResponse, with status
// 200 or, over the limit, 429.
func (h *Handler) rateLimit(w http.ResponseWriter, r *http.Request) {
	message, err := h.rateLimitRequest(w, r)
	if err != nil {
		h.refuse(w, err)
		return
	}
	x := h.Desk.Open()
	if err = rls.Decode(message, &h.Bounds, &x.Req); err == nil {
		x = h.decideAt(r.Context(), x, h.isBehind())
		err = x.Fault()
	}
	h.rateLimitResponse(w, x, err)
	h.Desk.Close(x) // not in a defer, see decide
}

// rateLimitResponse writes the decision that x holds, or err.
func (h *Handler) rateLimitResponse(w http.ResponseWriter, x *api.Exchange, err error) {
	if err != nil {
		h.refuse(w, err)
		return
	}
	x.Out = h.RLS.Append(x.Out[:0], x)
	var m rlsv3.RateLimitResponse
	if err := proto.Unmarshal(x.Out, &m); err != nil { // our own bytes
		panic(err)
	}
	body, err := protojson.Marshal(&m)
	if err != nil {
		panic(err)
	}
	setFields(w.Header(), x)
	w.Header().Set("Content-Type", "application/json")
	if m.GetOverallCode() == rlsv3.RateLimitResponse_OVER_LIMIT {
		w.WriteHeader(http.StatusTooManyRequests)
	}
	_, _ = w.Write(body) // an error is the reader's: it went away
}

// rateLimitRequest reads the body as the wire format, which is what is bounded and
// decoded.
func (h *Handler) rateLimitRequest(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := h.readBody(w, r)
	if err != nil {
		return nil, err
	}
	var m rlsv3.RateLimitRequest
	if err := protojson.Unmarshal(body, &m); err != nil {
		return nil, &api.Fault{Reason: api.Malformed, Field: "body", Bound: "must be a RateLimitRequest in JSON: " + err.Error()}
	}
	message, err := proto.Marshal(&m)
	if err != nil {
		return nil, api.NotProto("body")
	}
	return message, nil
}

// readBody reads the body of r, as far as it may be long.
func (h *Handler) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(h.Bounds.MessageBytes)))
	if err == nil {
		return body, nil
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, err
	}
	return nil, &api.Fault{Reason: api.Malformed, Field: "body", Bound: "ends early"}
}
