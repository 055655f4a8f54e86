package rest

import (
	"net/http/httptest"
	"strings"
)

// A DecodedCheck is what was understood of the body of a check.
type DecodedCheck struct {
	Domain                  string
	Attributes              [][2]string
	GiveBack, Peek, Explain bool
}

// DecodeCheck decodes body as POST /v1/check does.
func (h *Handler) DecodeCheck(body string) (DecodedCheck, error) {
	var c check
	r := httptest.NewRequest("POST", "/v1/check", strings.NewReader(body))
	if err := h.readJSON(httptest.NewRecorder(), r, &c); err != nil {
		return DecodedCheck{}, err
	}
	d := DecodedCheck{Domain: c.Domain, GiveBack: c.GiveBack, Peek: c.Peek, Explain: c.Explain}
	for _, a := range c.Attributes {
		d.Attributes = append(d.Attributes, [2]string{a.GetKey(), a.GetValue()})
	}
	return d, nil
}
