package rpc_test

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/headgate/headgate/api/gubernator"
)

const carried = `
domain: services
gubernator: {names: [logins], max_limit: 100, max_duration: year}
`

func TestGubernatorOverTheWire(t *testing.T) {
	s, addr := start(t, func(u *setup) { u.policy = carried })
	cc := connect(t, addr).cc
	messages := gubernator.Schema().Messages()
	call := func(method string, in, out protoreflect.Name, text string) (*dynamicpb.Message, error) {
		t.Helper()
		req, resp := dynamicpb.NewMessage(messages.ByName(in)), dynamicpb.NewMessage(messages.ByName(out))
		if err := prototext.Unmarshal([]byte(text), req); err != nil {
			t.Fatal(err)
		}
		return resp, cc.Invoke(brief(t), method, req, resp)
	}
	const three = `requests {name: "logins" unique_key: "ann" hits: 2 limit: 3 duration: 3600000}
		requests {name: "logins" unique_key: "ann" hits: 2 limit: 3 duration: 3600000}
		requests {name: "other" unique_key: "ann" hits: 2 limit: 3 duration: 3600000}`
	resp, err := call(gubernator.GetRateLimits, "GetRateLimitsReq", "GetRateLimitsResp", three)
	if err != nil {
		t.Fatal(err)
	}
	list := resp.Get(resp.Descriptor().Fields().ByName("responses")).List()
	get := func(i int, name protoreflect.Name) protoreflect.Value {
		m := list.Get(i).Message()
		return m.Get(m.Descriptor().Fields().ByName(name))
	}
	if list.Len() != 3 || get(0, "remaining").Int() != 1 || get(0, "status").Enum() != 0 || get(1, "status").Enum() != 1 || get(2, "error").String() == "" {
		t.Errorf("answered %v", resp)
	}
	if got := s.Stats().Faults; got != 1 {
		t.Errorf("%d faults", got)
	}

	resp, err = call(gubernator.HealthCheck, "GetRateLimitsReq", "HealthCheckResp", "")
	if err != nil || resp.Get(resp.Descriptor().Fields().ByName("status")).String() != "healthy" || resp.Get(resp.Descriptor().Fields().ByName("peer_count")).Int() != 1 {
		t.Errorf("health: %v, %v", resp, err)
	}
	s.SetServing(false)
	if _, err = call(gubernator.HealthCheck, "GetRateLimitsReq", "HealthCheckResp", ""); status.Code(err) != codes.Unavailable {
		t.Errorf("health of a node that does not serve: %v", err)
	}
	if err = cc.Invoke(brief(t), gubernator.LiveCheck, &emptypb.Empty{}, &emptypb.Empty{}); err != nil {
		t.Errorf("live: %v", err)
	}
}
