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
	paths   []string // of files and directories; none, and nothing below: the sample
	envoy   envoyFiles
	imports policy.EnvoyOptions // of what is in the reference service's format
	// remote: a control plane publishes configuration. Until its first one is
	// here, a domain that no file has is answered with an error.
	remote  bool
	options policy.Options
	now     func() limiter.Instant
	log     *slog.Logger

	// accept is asked whether the limits of a policy can be served. install is told
	// of them before it is in force, and reloaded of how each reading of changed
	// files ended.
	accept   func([]*limiter.Limit) error
	install  func(version uint64, limits []*limiter.Limit)
	reloaded func(obs.ReloadResult)

	current atomic.Pointer[policy.Snapshot] // what requests are matched against; stored under swapping

	swapping sync.Mutex // guards modes and which snapshot is current; held for moments only
	modes    map[string]policy.Mode

	loading   sync.Mutex         // held while a policy is made and applied; guards what is below
	signature string             // of the files that load read; set once
	local     []*policy.Document // of the files, as last applied
	published []*policy.Document // of the control plane, as last applied
	received  bool               // something was published and applied

	first chan struct{} // closed when received becomes true

	mu    sync.Mutex // guards state; held for moments only
	state policyState
}

// policyState is what people are told.
type policyState struct {
	Files     []string
	AppliedAt time.Time
	TriedAt   time.Time // of the last reading
	Refused   error     // of the last reading; nil: its policies are in force

	Published    string // the control plane's version that is in force
	NotPublished error  // of its last one; nil: it is in force
}

// problems returns one line for each thing that is wrong.
func (s *policyState) problems() []string {
	var lines []string
	for _, err := range []error{s.Refused, s.NotPublished} {
		if err != nil {
			lines = append(lines, problemLines(err)...)
		}
	}
	return lines
}

// sampled reports whether nobody says where policies come from.
func (p *policies) sampled() bool { return len(p.paths) == 0 && p.envoy.dir == "" && !p.remote }

// load puts the policies in force for the first time. Its error is ErrPolicies or ErrQuotas.
func (p *policies) load() error {
	p.loading.Lock()
	defer p.loading.Unlock()
	if p.sampled() {
		p.log.Warn("no policy is given: serving the built-in sample policy; give yours with --policy FILE|DIR")
	}
	p.signature = p.sign()
	local, files, err := p.read()
	if err != nil {
		return err
	}
	next, err := p.compile(local, nil)
	if err != nil {
		return err
	}
	p.local = local
	p.apply(next, func(s *policyState) { s.Files = files })
	return nil
}

// reload reads the files again. Wrong ones change nothing but what is said of
// them.
func (p *policies) reload() {
	p.loading.Lock()
	defer p.loading.Unlock()
	local, files, err := p.read()
	var next *policy.Snapshot
	if err == nil {
		next, err = p.compile(local, p.published)
	}
	if err != nil {
		p.refuse(err, func(s *policyState) { s.Refused = err })
		return
	}
	p.local = local
	p.replace(next, func(s *policyState) { s.Refused, s.Files = nil, files })
}

// publish puts what the control plane published in force, instead of what it
// published before. An error changes nothing, and names what is wrong.
func (p *policies) publish(version string, configs []policy.EnvoyConfig) error {
	p.loading.Lock()
	defer p.loading.Unlock()
	docs, err := p.importing(func(o policy.EnvoyOptions) ([]*policy.Document, error) {
		return policy.ImportEnvoyConfigs(configs, o)
	})
	had := p.received
	p.received = true // a domain that it does not know is unknown
	var next *policy.Snapshot
	if err == nil {
		next, err = p.compile(p.local, docs)
	}
	if err != nil {
		p.received = had
		p.refuse(err, func(s *policyState) { s.NotPublished = err })
		return err
	}
	p.published = docs
	p.replace(next, func(s *policyState) { s.Published, s.NotPublished = version, nil })
	if !had {
		close(p.first)
	}
	return nil
}

// importing runs an import and says what it leaves out.
func (p *policies) importing(run func(policy.EnvoyOptions) ([]*policy.Document, error)) ([]*policy.Document, error) {
	o := p.imports
	o.Lossy = true
	o.Lost = func(lost policy.Problem) { p.log.Warn("left out of the policy", slog.String("problem", lost.String())) }
	docs, err := run(o)
	if err != nil {
		return nil, fmt.Errorf("app: %w: %w", ErrPolicies, err)
	}
	return docs, nil
}

// refuse says of what was not put in force why. p.loading is held.
func (p *policies) refuse(err error, told func(*policyState)) {
	_, before := p.snapshot()
	p.note(told)
	p.reloaded(obs.ReloadRejected)
	if before.NotPublished != nil && before.NotPublished.Error() == err.Error() {
		return // a control plane sends what was rejected again and again
	}
	p.log.Error("policies refused: the previous ones stay in force",
		slog.Int("problems", len(problemLines(err))), slog.Uint64("policy_version", p.current.Load().Version()))
	for _, line := range problemLines(err) {
		p.log.Error("policy problem", slog.String("problem", line))
	}
}

// replace puts next in force instead of the present policy. p.loading is held.
func (p *policies) replace(next *policy.Snapshot, told func(*policyState)) {
	if next.Version() != p.current.Load().Version() {
		p.apply(next, told)
		p.reloaded(obs.ReloadApplied)
		return
	}
	p.put(next) // comments may have moved the lines that it names
	p.note(told)
	p.reloaded(obs.ReloadUnchanged)
	p.log.Debug("policies read again: nothing changed")
}

// put makes next what requests are matched against. p.loading is held.
func (p *policies) put(next *policy.Snapshot) {
	p.install(next.Version(), next.Limits())
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
func (p *policies) apply(next *policy.Snapshot, told func(*policyState)) {
	p.put(next)
	var files int
	p.note(func(s *policyState) { told(s); s.AppliedAt, files = s.TriedAt, len(s.Files) })
	p.log.Info("policies in force", slog.Uint64("policy_version", next.Version()), slog.String("hash", next.Hash()[:12]),
		slog.Any("domains", firstFew(next.Domains())), slog.Int("limits", len(next.Limits())), slog.Int("files", files))
}

// read returns what the files say now.
func (p *policies) read() (docs []*policy.Document, files []string, err error) {
	sources, err := p.sources()
	if err != nil {
		return nil, nil, err
	}
	docs, problems := ParsePolicies(sources)
	if len(problems) > 0 {
		return nil, nil, fmt.Errorf("app: %w: %w", ErrPolicies, problems)
	}
	if p.envoy.dir != "" {
		more, err := p.envoy.load()
		if err != nil {
			return nil, nil, err
		}
		imported, err := p.importing(func(o policy.EnvoyOptions) ([]*policy.Document, error) {
			return policy.ImportEnvoy(more, o)
		})
		if err != nil {
			return nil, nil, err
		}
		docs, sources = append(docs, imported...), append(sources, more...)
	}
	files = make([]string, len(sources))
	for i := range sources {
		files[i] = sources[i].Name
	}
	return docs, files, nil
}

// compile makes a policy of what the files say and of what is published: as the
// next version, or as the present one if it means the same. p.loading is held.
func (p *policies) compile(local, published []*policy.Document) (*policy.Snapshot, error) {
	docs := slices.Concat(local, published)
	options, now := p.options, p.current.Load()
	if p.remote && !p.received {
		options.OnUnknownDomain = policy.UnknownDomainError
	}
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
		return nil, fmt.Errorf("app: %w: %w", ErrPolicies, problems)
	}
	if err := p.accept(next.Limits()); errors.Is(err, ErrQuotas) {
		return nil, fmt.Errorf("app: %w", err) // nothing is wrong with the policies
	} else if err != nil {
		return nil, fmt.Errorf("app: %w: %w", ErrPolicies, err)
	}
	return next, nil
}

// sources returns what the policy documents are read from.
func (p *policies) sources() ([]policy.Source, error) {
	switch {
	case p.sampled():
		return []policy.Source{{Name: sampleName, Text: sample}}, nil
	case len(p.paths) == 0:
		return nil, nil
	default:
		return LoadPolicies(p.paths...)
	}
}

// sign changes when the files do, see signature.
func (p *policies) sign() string { return signature(p.paths) + p.envoy.sign() }

// watched returns what is to be watched for changes.
func (p *policies) watched() []string { return slices.Concat(p.paths, p.envoy.places()) }

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
		LoadedAt: limiter.Instant(state.AppliedAt.UnixNano()), Rejected: len(state.problems()) > 0,
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
