package api_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/headgate/headgate/api"
)

func TestAJSONProblemNamesTheMemberAndWhatItMustBe(t *testing.T) {
	type Inner struct {
		Domain string `json:"domain"`
	}
	type body struct {
		Inner
		By    int64             `json:"by"`
		Cost  uint8             `json:"cost"`
		Share float64           `json:"share"`
		Peek  bool              `json:"peek"`
		List  []Inner           `json:"list"`
		Map   map[string]string `json:"map"`
	}
	for in, want := range map[string]string{
		`{"domain": 3}`:            "domain: must be a text, not a number",
		`{"by": "1"}`:              "by: must be a whole number from -9223372036854775808 to 9223372036854775807, not a text",
		`{"by": 1.5}`:              "by: must be a whole number from -9223372036854775808 to 9223372036854775807, not 1.5",
		`{"cost": 256}`:            "cost: must be a whole number from 0 to 255, not 256",
		`{"share": true}`:          "share: must be a number, not true or false",
		`{"peek": []}`:             "peek: must be true or false, not a list",
		`{"list": {}}`:             "list: must be a list, not an object",
		`{"list": [{"domain":1}]}`: "list.domain: must be a text, not a number",
		`{"map": 4}`:               "map: must be an object, not a number",
		`[]`:                       "must be an object, not a list",
		`{"x": 1}`:                 `unknown field "x"`,
		`{`:                        "unexpected EOF",
	} {
		d := json.NewDecoder(strings.NewReader(in))
		d.DisallowUnknownFields()
		if err := d.Decode(new(body)); err == nil || api.JSONProblem(err) != want {
			t.Errorf("%s: %q, want %q", in, api.JSONProblem(err), want)
		}
	}
}
