package rest

import (
	"context"
	"net/http"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/gubernator"
)

// A gubernatorDoor answers Gubernator's paths: its messages in protobuf's JSON, with
// every field and the names of the .proto file in the answers.
type gubernatorDoor struct {
	*Handler
	serve                     func(ctx context.Context, in []byte, shed bool) ([]byte, error)
	request, response, health protoreflect.MessageDescriptor
}

func (h *Handler) gubernatorDoor() *gubernatorDoor {
	messages := gubernator.Schema().Messages()
	service := gubernator.Service{Desk: h.Desk, Bounds: h.Bounds}
	return &gubernatorDoor{
		Handler: h, serve: service.Batches().Serve, request: messages.ByName("GetRateLimitsReq"),
		response: messages.ByName("GetRateLimitsResp"), health: messages.ByName("HealthCheckResp"),
	}
}

// getRateLimits decides a batch. Over the limit is an answer, with status 200.
func (g *gubernatorDoor) getRateLimits(w http.ResponseWriter, r *http.Request) {
	body, err := g.readBody(w, r)
	if err != nil {
		g.refuse(w, err)
		return
	}
	m := dynamicpb.NewMessage(g.request)
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, m); err != nil {
		g.refuse(w, &api.Fault{Reason: api.Malformed, Field: "body", Bound: "must be a GetRateLimitsReq in JSON: " + err.Error()})
		return
	}
	in, err := proto.Marshal(m)
	if err != nil {
		g.refuse(w, api.NotProto("body"))
		return
	}
	out, err := g.serve(r.Context(), in, g.isBehind())
	if err != nil {
		g.refuse(w, err)
		return
	}
	writeMessage(w, g.response, out)
}

// healthCheck says whether the node is ready.
func (g *gubernatorDoor) healthCheck(w http.ResponseWriter, _ *http.Request) {
	if !g.Ready() {
		problem{Title: "Not ready", Status: http.StatusServiceUnavailable, Detail: "the node is not serving"}.write(w)
		return
	}
	writeMessage(w, g.health, gubernator.AppendHealthy(nil))
}

// liveCheck says that the node lives, by answering.
func (g *gubernatorDoor) liveCheck(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte("{}")) // an error is the reader's: it went away
}

// writeMessage sends the message in, our own bytes, in JSON.
func writeMessage(w http.ResponseWriter, kind protoreflect.MessageDescriptor, in []byte) {
	m := dynamicpb.NewMessage(kind)
	if err := proto.Unmarshal(in, m); err != nil {
		panic(err)
	}
	body, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(m)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // an error is the reader's: it went away
}
