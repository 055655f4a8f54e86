package authz

import (
	"errors"
	"fmt"

	"github.com/headgate/headgate/api"
)

// A Service reads and answers requests. Make one with New.
type Service struct {
	Config
	domain []byte
	keys   [members][]byte
}

// A Config says how to answer.
type Config struct {
	Bounds api.Bounds
	// Domain is that of requests whose context extensions have none; "": they are
	// refused.
	Domain string
}

// New returns a service, or all problems of c.
func New(c Config) (*Service, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	s := &Service{Config: c, domain: []byte(c.Domain)}
	for i, name := range [members]string{"remote_address", "method", "scheme", "host", "path", "principal"} {
		s.keys[i] = []byte(name)
	}
	return s, nil
}

// Bounds of what the context extensions of a route say.
const (
	// ExtensionsMax is how many there may be.
	ExtensionsMax = 32
	// HeadersMax is how many header fields `headers` may name.
	HeadersMax = 16
	// denyLow to denyHigh is what deny_status may be; denyDefault if it isn't there.
	denyLow, denyHigh, denyDefault = 400, 599, 429
)

// Validate reports settings that are out of bounds.
func (c *Config) Validate() error {
	err := c.Bounds.Validate()
	if len(c.Domain) > c.Bounds.KeyBytes {
		err = errors.Join(err, fmt.Errorf("authz: ext_authz_domain: %d bytes: at most %d", len(c.Domain), c.Bounds.KeyBytes))
	}
	return err
}
