package config

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
)

// FileBytesMax is how large a settings file may be.
const FileBytesMax = 1 << 20

// A Flag is a setting given on the command line.
type Flag struct {
	Path   string   // of the setting
	Name   string   // as the user wrote it, such as --grpc
	Values []string // one, or for a list any number
}

// Sources are where settings come from, in the order in which they apply:
// defaults, File, Env, Flags. An empty DataDir becomes DefaultDataDir of Env.
type Sources struct {
	File  string   // path of a YAML file; "": none
	Env   []string // NAME=value pairs, as os.Environ returns them
	Flags []Flag
}

// A loader gathers settings, remembering where each came from.
type loader struct {
	config   Config
	fields   map[string]Field
	sources  map[string]string // by path; absent for a default
	problems Problems
}

// Load returns the settings that s adds up to. All problems of all sources are
// reported at once, as Problems; a file that can't be read is an error of its
// own.
func Load(s Sources) (Config, error) {
	l := newLoader()
	if s.File != "" {
		text, err := readFile(s.File)
		if err != nil {
			return Config{}, err
		}
		l.file(s.File, text)
	}
	l.env(s.Env)
	for _, f := range s.Flags {
		l.flag(f)
	}
	if l.config.DataDir == "" {
		l.config.DataDir = DefaultDataDir(lookup(s.Env), os.Geteuid())
	}
	l.validate()
	if len(l.problems) > 0 {
		return Config{}, l.problems
	}
	return l.config, nil
}

func newLoader() *loader {
	l := &loader{config: Default(), fields: map[string]Field{}, sources: map[string]string{}}
	for _, f := range Fields(&l.config) {
		l.fields[f.Path] = f
	}
	return l
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, fmt.Errorf("config: read settings: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read from
	text, err := io.ReadAll(io.LimitReader(f, FileBytesMax+1))
	if err != nil {
		return nil, fmt.Errorf("config: read settings: %w", err)
	}
	if len(text) > FileBytesMax {
		return nil, fmt.Errorf("config: read settings: %s is larger than %v", name, Bytes(FileBytesMax))
	}
	return text, nil
}

// EnvFile is the environment variable that names the settings file, for those
// who can't pass -c. Load leaves it to its caller.
const EnvFile = "HEADGATE_CONFIG"

// env applies variables that start with HEADGATE_. An unknown one is a problem,
// except those that Kubernetes sets in every pod for a Service whose name
// starts with "headgate", such as HEADGATE_SERVICE_HOST or HEADGATE_PORT. They
// are known by their values, too: HEADGATE_GRPC_PORT=9000 is somebody's mistake.
func (l *loader) env(pairs []string) {
	byName := map[string]Field{}
	names := []string{}
	kubernetes := regexp.MustCompile(`_(SERVICE_HOST=[0-9a-fA-F.:]+|SERVICE_PORT(_[A-Z0-9_]+)?=\d+|` +
		`PORT(_\d+_(TCP|UDP|SCTP))?=[a-z]+://.*|PORT_\d+_(TCP|UDP|SCTP)_(PROTO=[a-z]+|PORT=\d+|ADDR=[0-9a-fA-F.:]+))$`)
	for _, f := range Fields(&l.config) {
		byName[f.Env()] = f
		names = append(names, f.Env())
	}
	for _, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, "HEADGATE_") || name == EnvFile {
			continue
		}
		f, ok := byName[name]
		if !ok && kubernetes.MatchString(pair) {
			continue
		}
		if !ok {
			l.problem(Problem{Source: name, Bound: "unknown setting" + suggest(name, names)})
			continue
		}
		l.set(f, name, value)
	}
}

func (l *loader) flag(fl Flag) {
	f, ok := l.fields[fl.Path]
	if !ok {
		l.problem(Problem{Source: fl.Name, Path: fl.Path, Bound: "unknown setting"})
		return
	}
	if f.IsList() {
		f.SetList(fl.Values)
		l.sources[f.Path] = fl.Name
		return
	}
	for _, value := range fl.Values {
		l.set(f, fl.Name, value)
	}
}

func (l *loader) set(f Field, source, text string) {
	l.sources[f.Path] = source
	if want := f.Set(text); want != "" {
		l.problem(Problem{Source: source, Path: f.Path, Value: text, Bound: want})
	}
}

func (l *loader) problem(p Problem) { l.problems = append(l.problems, p) }

// validate adds what is out of bounds, unless that setting's text was wrong
// already.
func (l *loader) validate() {
	reported := map[string]bool{}
	for _, p := range l.problems {
		reported[p.Path] = true
	}
	for _, p := range asProblems(l.config.Validate()) {
		if !reported[p.Path] {
			p.Source = l.sources[p.Path]
			l.problem(p)
		}
	}
}

func suggest(name string, candidates []string) string {
	if n := nearest(name, candidates); n != "" {
		return fmt.Sprintf("; did you mean %q?", n)
	}
	return ""
}

func lookup(env []string) func(string) string {
	return func(name string) string {
		for _, pair := range env {
			if value, ok := strings.CutPrefix(pair, name+"="); ok {
				return value
			}
		}
		return ""
	}
}
