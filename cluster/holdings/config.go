package holdings

import (
	"errors"
	"fmt"
	"time"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

// Bounds of a Config.
const (
	CountersLimit = 1 << 28
	ParkedLimit   = 1 << 24
	GrantLimit    = limiter.AmountMax
	SpanMin       = time.Millisecond
	SpanLimit     = time.Hour
)

// A Config says what Holdings work with. Submit, Rest, Now and Tenure have no
// default; a zero number or time stands for its default.
type Config struct {
	// Submit queues a command for the ledger and returns at once. done is called
	// once if it returned nil, from any goroutine that holds no lock of Holdings:
	// with the answer, or with an error if none will come; quota.ErrLate if c was not sent
	// before its Deadline.
	Submit func(c quota.Command, done func(*quota.Command, quota.Result, error)) error

	// Gather is Submit for a command that no call waits for: it may wait a while for
	// others that it is sent with. Hurry has what it took in for a key sent at once,
	// that which it is about to take in too. Default: Submit, and nothing.
	Gather func(c quota.Command, done func(*quota.Command, quota.Result, error)) error
	Hurry  func(limiter.Key)

	// Rest decides the charges of a call whose limits are of other kinds, and
	// leaves those of quotas as they are. It never waits.
	Rest func(now limiter.Instant, c *limiter.Call)

	// Now is the node's clock, which tells the window too.
	Now func() limiter.Instant

	// Tenure is this node's, at least 1: never one that was used before by a
	// process whose memory is lost.
	Tenure uint64

	// CountersMax bounds the counters that are held; a charge of one more is
	// denied. Default 4 Mi, about 1 GiB.
	CountersMax int64

	// ShareMax is the part of CountersMax that one domain fills at most, in (0, 1],
	// while there are several: a charge of one more counter is denied. Default 0.5.
	ShareMax float64

	// ParkedMax bounds the calls that wait for units; one more is denied. Default
	// 65,536.
	ParkedMax int64

	// GrantMax bounds a grant that is fetched ahead, in units. Default 100,000.
	GrantMax uint64

	// Horizon is how long a grant should last at the present rate, or up to 8 times
	// as long for a counter that has been in use for so long. Default 1 s.
	Horizon time.Duration

	// Idle is for how long a balance is unused when it goes back. Default 1 min.
	Idle time.Duration
}

// Default returns the settings that zero fields stand for.
func Default() Config {
	return Config{CountersMax: 4 << 20, ShareMax: 0.5, ParkedMax: 1 << 16, GrantMax: 100_000, Horizon: time.Second, Idle: time.Minute}
}

func (c Config) withDefaults() Config {
	d := Default()
	if c.CountersMax == 0 {
		c.CountersMax = d.CountersMax
	}
	if c.ShareMax == 0 {
		c.ShareMax = d.ShareMax
	}
	if c.ParkedMax == 0 {
		c.ParkedMax = d.ParkedMax
	}
	if c.GrantMax == 0 {
		c.GrantMax = d.GrantMax
	}
	if c.Horizon == 0 {
		c.Horizon = d.Horizon
	}
	if c.Idle == 0 {
		c.Idle = d.Idle
	}
	return c
}

// Validate reports every field that is missing or out of bounds, joined.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	for _, f := range []struct {
		field   string
		missing bool
	}{
		{"Submit", c.Submit == nil},
		{"Rest", c.Rest == nil},
		{"Now", c.Now == nil},
		{"Tenure", c.Tenure == 0},
	} {
		if f.missing {
			errs = append(errs, fmt.Errorf("holdings: %s: must be given", f.field))
		}
	}
	number := func(field string, v, most int64) {
		if v < 1 || v > most {
			errs = append(errs, fmt.Errorf("holdings: %s=%d: must be in [1, %d]", field, v, most))
		}
	}
	number("CountersMax", c.CountersMax, CountersLimit)
	if !(c.ShareMax > 0 && c.ShareMax <= 1) {
		errs = append(errs, fmt.Errorf("holdings: ShareMax=%v: must be in (0, 1]", c.ShareMax))
	}
	number("ParkedMax", c.ParkedMax, ParkedLimit)
	number("GrantMax", int64(min(c.GrantMax, GrantLimit+1)), GrantLimit)
	span := func(field string, v time.Duration) {
		if v < SpanMin || v > SpanLimit {
			errs = append(errs, fmt.Errorf("holdings: %s=%s: must be in [%s, %s]", field, v, SpanMin, SpanLimit))
		}
	}
	span("Horizon", c.Horizon)
	span("Idle", c.Idle)
	return errors.Join(errs...)
}
