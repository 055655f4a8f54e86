package app

import (
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headgate/headgate/internal/obs"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

// sample is what a node without policies serves, so that it can be tried at
// once: deploy/examples/shop.yaml.
//
//go:embed sample.yaml
var sample []byte

// sampleName is the file name that the sample policy's positions have.
const sampleName = "built-in sample policy"

// policies are the node's policies: where they come from, what is in force and
// what became of the last change.
type policies struct {
	paths   []string // of files and directories; none: the sample
	options policy.Options
	now     func() limiter.Instant
	log     *slog.Logger

	// install is told of the limits of a policy before it is in force, and
	// reloaded of how each reading of changed files ended.
	install  func([]*limiter.Limit)
	reloaded func(obs.ReloadResult)

	current atomic.Pointer[policy.Snapshot] // what requests are matched against; stored under swapping

	swapping sync.Mutex // guards modes and which snapshot is current; held for moments only
	modes    map[string]policy.Mode

	loading   sync.Mutex // held while files are read and a policy is applied
	signature string     // of the files that load read; set once

	mu    sync.Mutex // guards state; held for moments only
	state policyState
}

// policyState is what people are told.
type policyState struct {
	Files     []string
	AppliedAt time.Time
	TriedAt   time.Time // of the last reading
	Refused   error     // of the last reading; nil: its policies are in force
}

// load puts the policies in force for the first time. Its error is ErrPolicies.
func (p *policies) load() error {
	p.loading.Lock()
	defer p.loading.Unlock()
	if len(p.paths) == 0 {
		p.log.Warn("no policy is given: serving the built-in sample policy; give yours with --policy FILE|DIR")
	}
	p.signature = signature(p.paths)
	next, files, err := p.read()
	if err != nil {
		return err
	}
	p.apply(next, files)
	return nil
}

// reload reads the files again. Wrong ones change nothing but what is said of
// them.
func (p *policies) reload() {
	p.loading.Lock()
	defer p.loading.Unlock()
	next, files, err := p.read()
	switch {
	case err != nil:
		p.note(func(s *policyState) { s.Refused = err })
		p.reloaded(obs.ReloadRejected)
		p.log.Error("policies refused: the previous ones stay in force",
			slog.Int("problems", len(problemLines(err))), slog.Uint64("policy_version", p.current.Load().Version()))
		for _, line := range problemLines(err) {
			p.log.Error("policy problem", slog.String("problem", line))
		}
	case next.Version() == p.current.Load().Version():
		p.put(next) // comments may have moved the lines that it names
		p.note(func(s *policyState) { s.Refused, s.Files = nil, files })
		p.reloaded(obs.ReloadUnchanged)
		p.log.Debug("policies read again: nothing changed")
	default:
		p.apply(next, files)
		p.reloaded(obs.ReloadApplied)
	}
}

// put makes next what requests are matched against. p.loading is held.
func (p *policies) put(next *policy.Snapshot) {
	p.install(next.Limits())
	p.swapping.Lock()
	defer p.swapping.Unlock()
	p.current.Store(next.WithModes(p.modes))
}

// setModes puts modes in force, in the present policy and in those to come. It
// does not wait for a policy that is being read.
func (p *policies) setModes(modes map[string]policy.Mode) {
	p.swapping.Lock()
	defer p.swapping.Unlock()
	p.modes = modes
	if now := p.current.Load(); now != nil {
		p.current.Store(now.WithModes(modes))
	}
}

// apply puts next in force as a new version. p.loading is held.
func (p *policies) apply(next *policy.Snapshot, files []string) {
	p.put(next)
	p.note(func(s *policyState) { s.Files, s.AppliedAt, s.Refused = files, s.TriedAt, nil })
	p.log.Info("policies in force", slog.Uint64("policy_version", next.Version()), slog.String("hash", next.Hash()[:12]),
		slog.Any("domains", firstFew(next.Domains())), slog.Int("limits", len(next.Limits())), slog.Int("files", len(files)))
}

// read returns what the files say now: as the next version, or as the present
// one if they mean the same.
func (p *policies) read() (*policy.Snapshot, []string, error) {
	sources, err := p.sources()
	if err != nil {
		return nil, nil, err
	}
	files := make([]string, len(sources))
	for i := range sources {
		files[i] = sources[i].Name
	}
	docs, problems := ParsePolicies(sources)
	if len(problems) > 0 {
		return nil, nil, fmt.Errorf("app: %w: %w", ErrPolicies, problems)
	}
	options, now := p.options, p.current.Load()
	options.Version = 1
	if now != nil {
		options.Version = now.Version() + 1
	}
	next, problems := policy.Compile(docs, options)
	if len(problems) == 0 && now != nil && next.Hash() == now.Hash() {
		options.Version = now.Version()
		next, problems = policy.Compile(docs, options)
	}
	if len(problems) > 0 {
		return nil, nil, fmt.Errorf("app: %w: %w", ErrPolicies, problems)
	}
	return next, files, nil
}

// sources returns what the policies are read from.
func (p *policies) sources() ([]policy.Source, error) {
	if len(p.paths) == 0 {
		return []policy.Source{{Name: sampleName, Text: sample}}, nil
	}
	return LoadPolicies(p.paths...)
}

func (p *policies) note(f func(*policyState)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.TriedAt = p.now().Time()
	f(&p.state)
}

func (p *policies) snapshot() (*policy.Snapshot, policyState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current.Load(), p.state
}

// reading is what the metrics say.
func (p *policies) reading() obs.PolicyReading {
	s, state := p.snapshot()
	if s == nil {
		return obs.PolicyReading{}
	}
	return obs.PolicyReading{
		Version: s.Version(), Hash: s.Hash()[:12], Limits: len(s.Limits()), Domains: len(s.Domains()),
		LoadedAt: limiter.Instant(state.AppliedAt.UnixNano()), Rejected: state.Refused != nil,
	}
}

// problemLines returns one line for each thing that is wrong.
func problemLines(err error) []string {
	var ps policy.Problems
	if !errors.As(err, &ps) {
		return []string{err.Error()}
	}
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return lines
}

func firstFew(names []string) []string {
	const few = 20
	if len(names) > few {
		return append(slices.Clone(names[:few]), fmt.Sprintf("… %d more", len(names)-few))
	}
	return names
}

// signature changes when the policy files under paths do, as far as can be told
// without reading them: names, sizes, times and places.
func signature(paths []string) string {
	var b []byte
	add := func(name string) {
		stat, err := os.Stat(name)
		if err != nil {
			b = fmt.Appendf(b, "%s gone\n", name)
			return
		}
		place, _ := filepath.EvalSymlinks(name) // a race with a removal: the next look tells
		b = fmt.Appendf(b, "%s %s %v", name, place, stat.Mode())
		if !stat.IsDir() { // what a directory's say is of all its entries
			b = fmt.Appendf(b, " %d %d", stat.Size(), stat.ModTime().UnixNano())
		}
		b = append(b, '\n')
	}
	for _, path := range paths {
		add(path)
		entries, err := os.ReadDir(path)
		if err != nil {
			continue // a file
		}
		for _, e := range entries {
			if isPolicyEntry(e.Name()) {
				add(filepath.Join(path, e.Name()))
			}
		}
	}
	return string(b)
}
