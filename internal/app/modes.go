package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/headgate/headgate/api/admin"
	"github.com/headgate/headgate/internal/audit"
	"github.com/headgate/headgate/internal/obs"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

// Names in the data directory.
const (
	modesName = "modes"
	auditName = "audit"
)

// Bounds of modes.
const (
	modesMax       = 1000 // domains that are not enforced, each with a metric series
	reasonBytesMax = 512
	modeForMin     = time.Second
	modeForMax     = 366 * 24 * time.Hour
	// modeExpiryEvery is how late a mode may end that was set for a time.
	modeExpiryEvery = 200 * time.Millisecond
	auditAction     = "mode"
)

// A modeEntry is the mode of a domain that is not enforced, as the file has it.
type modeEntry struct {
	Mode   string     `json:"mode"`
	Since  time.Time  `json:"since"`
	Until  *time.Time `json:"until,omitempty"` // nil: until it is changed
	Reason string     `json:"reason,omitempty"`
	User   string     `json:"user,omitempty"`
	Remote string     `json:"remote,omitempty"`
}

// modes are the operator's switches: which domains are not enforced. They are
// kept in a file of the data directory, and each change in the audit log.
type modes struct {
	file     string
	audit    *audit.Log
	policies *policies
	now      func() limiter.Instant
	log      *slog.Logger

	changing sync.Mutex // serialises changes, their file and their records
	entries  atomic.Pointer[map[string]modeEntry]
}

// load reads the file. One that is damaged is set aside and said so: all domains
// are then enforced.
func (m *modes) load() error {
	entries := map[string]modeEntry{}
	m.entries.Store(&entries)
	text, err := os.ReadFile(m.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("app: read modes: %w", err)
	}
	err = json.Unmarshal(text, &entries)
	for _, e := range entries {
		if _, want, ok := policy.ParseMode(e.Mode); err == nil && !ok {
			err = fmt.Errorf("mode %q: expected %s", e.Mode, want)
		}
	}
	if err != nil {
		aside := m.file + damaged + m.now().Time().UTC().Format("20060102T150405.000000000")
		m.log.Error("the modes of domains are damaged: all are enforced", slog.String("error", err.Error()), slog.String("set_aside_as", aside))
		none := map[string]modeEntry{}
		m.entries.Store(&none)
		if err := os.Rename(m.file, aside); err != nil {
			return fmt.Errorf("app: set damaged modes aside: %w", err)
		}
		return nil
	}
	for domain, e := range entries {
		m.log.Warn("domain is not enforced", slog.String("domain", domain), slog.String("mode", e.Mode),
			slog.Time("since", e.Since), slog.String("reason", e.Reason))
	}
	m.policies.setModes(modesOf(entries))
	return nil
}

// modesOf returns what a policy needs of entries.
func modesOf(entries map[string]modeEntry) map[string]policy.Mode {
	set := make(map[string]policy.Mode, len(entries))
	for domain, e := range entries {
		set[domain], _, _ = policy.ParseMode(e.Mode) // checked when it was set or loaded
	}
	return set
}

// change does what an operator asks for: at once for every decision that begins
// after it, then in the file and the audit log. What can't be written there is a
// warning in the answer and in the log: a disk that is full must not keep the
// operator from the switch.
func (m *modes) change(who admin.Caller, in *admin.ModeChange) (*admin.ModeChanged, error) {
	if err := m.check(in); err != nil {
		return nil, err
	}
	m.changing.Lock()
	defer m.changing.Unlock()
	now := m.now().Time().UTC()
	e := modeEntry{Mode: in.Mode, Since: now, Reason: in.Reason, User: who.User, Remote: who.Remote}
	if in.For != "" {
		d, _ := time.ParseDuration(in.For) // checked
		until := now.Add(d)
		e.Until = &until
	}
	entries := *m.entries.Load()
	if _, has := entries[in.Domain]; !has && in.Mode != policy.ModeEnforce.String() {
		switch {
		case !m.policies.current.Load().Has(in.Domain):
			return nil, &admin.Refusal{Status: http.StatusNotFound, Text: fmt.Sprintf("no policy has the domain %q", in.Domain)}
		case len(entries) >= modesMax:
			return nil, &admin.Refusal{Status: http.StatusConflict, Text: fmt.Sprintf("%d domains are not enforced already, which is the most", modesMax)}
		}
	}
	return m.set(in.Domain, &e), nil
}

// check reports what is wrong with a change, whatever the domains.
func (m *modes) check(in *admin.ModeChange) error {
	mode, want, ok := policy.ParseMode(in.Mode)
	if !ok {
		return badField("mode", in.Mode, want)
	}
	if in.Domain == "" || len(in.Domain) > policy.TextBytesMax {
		return badField("domain", in.Domain[:min(len(in.Domain), 80)], fmt.Sprintf("1 to %d bytes", policy.TextBytesMax))
	}
	if err := checkReason(in.Reason); err != nil {
		return err
	}
	if in.For == "" {
		return nil
	}
	if d, err := time.ParseDuration(in.For); err != nil || d < modeForMin || d > modeForMax {
		return badField("for", in.For, fmt.Sprintf("a duration such as 90s or 2h, %v to %v", modeForMin, modeForMax))
	}
	if mode == policy.ModeEnforce {
		return badField("for", in.For, "absent: enforce is not for a time")
	}
	return nil
}

// checkReason reports what is wrong with the reason of a change.
func checkReason(reason string) error {
	if len(reason) > reasonBytesMax || !utf8.ValidString(reason) || strings.ContainsFunc(reason, unicode.IsControl) {
		return badField("reason", reason[:min(len(reason), 80)], fmt.Sprintf("one line of at most %d bytes", reasonBytesMax))
	}
	return nil
}

func badField(field, value, bound string) error {
	return &admin.Refusal{Status: http.StatusBadRequest, Text: fmt.Sprintf("%s: %q: must be %s", field, value, bound)}
}

// set puts e in force for a domain and writes it down. m.changing is held.
func (m *modes) set(domain string, e *modeEntry) *admin.ModeChanged {
	old := *m.entries.Load()
	out := &admin.ModeChanged{Domain: domain, From: policy.ModeEnforce.String(), To: e.Mode, Until: e.Until}
	if before, ok := old[domain]; ok {
		out.From = before.Mode
	}
	entries := maps.Clone(old)
	if e.Mode == policy.ModeEnforce.String() {
		delete(entries, domain)
	} else {
		entries[domain] = *e
	}
	m.policies.setModes(modesOf(entries))
	m.entries.Store(&entries)
	m.log.Warn("mode changed", slog.String("domain", domain), slog.String("from", out.From), slog.String("to", out.To),
		slog.Any("until", e.Until), slog.String("reason", e.Reason), slog.String("user", e.User), slog.String("remote", e.Remote))
	warn := func(text string, err error) {
		if err != nil {
			out.Warnings = append(out.Warnings, text+": "+err.Error())
			m.log.Error("mode not written down", slog.String("what", text), slog.String("error", err.Error()))
		}
	}
	warn("the mode is in force but a restart will forget it", m.save(entries))
	warn("the mode is in force but not in the audit log", m.audit.Append(&audit.Record{
		Time: e.Since, Action: auditAction, Domain: domain, From: out.From, To: out.To, Until: e.Until,
		Reason: e.Reason, User: e.User, Remote: e.Remote,
	}))
	return out
}

func (m *modes) save(entries map[string]modeEntry) error {
	text, err := json.MarshalIndent(entries, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(m.file, func(f *os.File) error {
		_, err := f.Write(append(text, '\n'))
		return err
	})
}

// expire ends the modes whose time is over.
func (m *modes) expire() {
	now := m.now().Time().UTC()
	over := func(e modeEntry) bool { return e.Until != nil && !now.Before(*e.Until) }
	if !slices.ContainsFunc(slices.Collect(maps.Values(*m.entries.Load())), over) {
		return
	}
	m.changing.Lock()
	defer m.changing.Unlock()
	for domain, e := range *m.entries.Load() {
		if over(e) {
			m.set(domain, &modeEntry{Mode: policy.ModeEnforce.String(), Since: now, Reason: "the time that it was set for is over"})
		}
	}
}

// run calls expire until ctx ends.
func (m *modes) run(ctx context.Context) {
	tick := time.NewTicker(modeExpiryEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			m.expire()
		}
	}
}

// report lists the domains that are not enforced, by name.
func (m *modes) report() admin.Modes {
	entries, snapshot := *m.entries.Load(), m.policies.current.Load()
	list := admin.Modes{Domains: make([]admin.DomainMode, 0, len(entries))}
	for _, domain := range slices.Sorted(maps.Keys(entries)) {
		e := entries[domain]
		list.Domains = append(list.Domains, admin.DomainMode{
			Domain: domain, Mode: e.Mode, Since: e.Since, Until: e.Until, Reason: e.Reason, User: e.User, Remote: e.Remote,
			NoPolicy: !snapshot.Has(domain),
		})
	}
	return list
}

// readings are what the metrics say.
func (m *modes) readings() []obs.ModeReading {
	entries := *m.entries.Load()
	rs := make([]obs.ModeReading, 0, len(entries))
	for domain, e := range entries {
		rs = append(rs, obs.ModeReading{Domain: domain, Mode: e.Mode})
	}
	return rs
}

// history returns the newest records of the audit log.
func (m *modes) history(n int) ([]admin.AuditRecord, error) {
	records, err := m.audit.Recent(n)
	out := make([]admin.AuditRecord, len(records))
	for i := range records {
		out[i] = admin.AuditRecord(records[i])
	}
	return out, err
}
