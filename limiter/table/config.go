package table

import (
	"errors"
	"fmt"
)

// An OnFull says what is decided for a new counter that there is no room for.
type OnFull uint8

// The choices of on_full. The zero value allows.
const (
	FullAllow OnFull = iota // decide as if the counter were fresh, and forget it
	FullDeny                // deny
)

// String returns "allow" or "deny".
func (f OnFull) String() string {
	if f == FullDeny {
		return "deny"
	}
	return "allow"
}

// Bounds of a Config.
const (
	// EntriesLimit bounds Config.EntriesMax.
	EntriesLimit = 1 << 34
	// BytesLimit bounds Config.BytesMax: 1 TiB.
	BytesLimit = 1 << 40
)

// A Config bounds a Table. The zero value of a field stands for its default.
type Config struct {
	// EntriesMax is how many counters the table holds at most. Default 16,777,216.
	EntriesMax int64

	// BytesMax is how many bytes its arrays take at most, both arrays of a
	// shard that is growing included. A shard that may not grow any more is
	// filled further before a counter is turned away. Default 1 GiB.
	BytesMax int64

	// ShareMax is the part of EntriesMax that one domain fills at most, in
	// (0, 1]. It holds while more than one domain is installed: with one there
	// is nobody to keep room for. A domain that is above its share when a
	// second one arrives keeps its counters and gets no new ones. Default 0.5.
	ShareMax float64

	// OnFull says what is decided for a counter that does not fit. Default FullAllow.
	OnFull OnFull
}

// Default returns the settings that a zero Config stands for.
func Default() Config {
	return Config{EntriesMax: 1 << 24, BytesMax: 1 << 30, ShareMax: 0.5}
}

// withDefaults returns c with every zero field set to its default.
func (c Config) withDefaults() Config {
	d := Default()
	if c.EntriesMax == 0 {
		c.EntriesMax = d.EntriesMax
	}
	if c.BytesMax == 0 {
		c.BytesMax = d.BytesMax
	}
	if c.ShareMax == 0 {
		c.ShareMax = d.ShareMax
	}
	return c
}

// Validate reports every field that is out of bounds, joined.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	if c.EntriesMax < 1 || c.EntriesMax > EntriesLimit {
		errs = append(errs, fmt.Errorf("table: EntriesMax=%d: must be in [1, %d]", c.EntriesMax, int64(EntriesLimit)))
	}
	if c.BytesMax < 1 || c.BytesMax > BytesLimit {
		errs = append(errs, fmt.Errorf("table: BytesMax=%d: must be in [1, %d]", c.BytesMax, int64(BytesLimit)))
	}
	if !(c.ShareMax > 0 && c.ShareMax <= 1) {
		errs = append(errs, fmt.Errorf("table: ShareMax=%v: must be in (0, 1]", c.ShareMax))
	}
	if c.OnFull > FullDeny {
		errs = append(errs, fmt.Errorf("table: OnFull=%d: must be FullAllow or FullDeny", c.OnFull))
	}
	return errors.Join(errs...)
}
