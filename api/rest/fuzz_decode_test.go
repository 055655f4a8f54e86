package rest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/headgate/headgate/api/rest"
)

// FuzzDecodeCheck: what is accepted means what encoding/json makes of it, without
// anything of ours: same domain, same flags, the same attributes in the same order.
func FuzzDecodeCheck(f *testing.F) {
	for _, seed := range []string{
		`{"domain": "shop", "attributes": {"user": "alice", "n": 4.20e1, "b": false}, "peek": true}`,
		`{"domain": "a", "DOMAIN": "b", "attributes": {"a": 1}, "attributes": {"b": 2}}`,
		`{"attributes": {"a": "1", "a": "2"}}`,
		`{"attributes": [{"key": "a", "value": "\ud83d\ude00"}, {"key": "a", "value": -0}], "explain": true}`,
		"{\"attributes\": {\"\xff\": \"\xff\"}}",
		`{"attributes": null, "give_back": null}`,
	} {
		f.Add(seed)
	}
	h := handler(f)
	f.Fuzz(func(t *testing.T, body string) {
		got, err := h.DecodeCheck(body)
		if err != nil {
			return
		}
		want, err := modelOf(body)
		if err != nil {
			t.Fatalf("accepted, but %v: %s", err, body)
		}
		if got.Domain != want.Domain || got.GiveBack != want.GiveBack || got.Peek != want.Peek || got.Explain != want.Explain {
			t.Errorf("%+v, want %+v, for %s", got, want, body)
		}
		if !slices.Equal(got.Attributes, want.Attributes) {
			t.Errorf("attributes %q, want %q, for %s", got.Attributes, want.Attributes, body)
		}
	})
}

// modelOf decodes body with the plainest means of encoding/json.
func modelOf(body string) (rest.DecodedCheck, error) {
	var m struct {
		Domain     string          `json:"domain"`
		Attributes json.RawMessage `json:"attributes"`
		Cost       any             `json:"cost"`
		GiveBack   bool            `json:"give_back"`
		Peek       bool            `json:"peek"`
		Explain    bool            `json:"explain"`
	}
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		return rest.DecodedCheck{}, err
	}
	d := rest.DecodedCheck{Domain: m.Domain, GiveBack: m.GiveBack, Peek: m.Peek, Explain: m.Explain}
	raw := bytes.TrimSpace(m.Attributes)
	var err error
	switch {
	case len(raw) == 0 || string(raw) == "null":
	case raw[0] == '{':
		d.Attributes, err = modelOfObject(raw)
	default:
		d.Attributes, err = modelOfPairs(raw)
	}
	return d, err
}

// modelOfObject returns the members of an object in their order, as its tokens.
func modelOfObject(raw []byte) (all [][2]string, err error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var flat []string
	for {
		t, err := dec.Token()
		if err != nil {
			break // the end: raw is valid
		}
		flat = append(flat, fmt.Sprint(t))
	}
	if flat = flat[1 : len(flat)-1]; len(flat)%2 != 0 {
		return nil, fmt.Errorf("a nested value in %s", raw)
	}
	for pair := range slices.Chunk(flat, 2) {
		all = append(all, [2]string{pair[0], pair[1]})
	}
	return all, nil
}

func modelOfPairs(raw []byte) (all [][2]string, err error) {
	var pairs []struct {
		Key   string `json:"key"`
		Value any    `json:"value"`
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&pairs); err != nil {
		return nil, err
	}
	for _, p := range pairs {
		all = append(all, [2]string{p.Key, fmt.Sprint(p.Value)})
	}
	return all, nil
}
