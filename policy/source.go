package policy

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Bounds of what Load reads.
const (
	// SourceBytesMax bounds one file. Parsing takes about 100 bytes of memory
	// for each byte of a file, one file at a time.
	SourceBytesMax = 8 << 20
	// SourcesMax bounds the number of files, and SourcesBytesMax all of them.
	SourcesMax      = 4096
	SourcesBytesMax = 64 << 20
)

// A Source is the text of one policy file.
type Source struct {
	Name string // the file's path, as problems name it
	Text []byte
}

// Load reads files and directories. Of a directory it reads the files named
// *.yaml and *.yml in the order of their names, not those of directories
// below it. Names that begin with a dot are skipped, so that a Kubernetes
// volume's `..data` is not read twice; symbolic links to files are followed.
// The error joins everything that could not be read or exceeds a bound.
func Load(paths ...string) ([]Source, error) {
	var (
		names []string
		errs  []error
	)
	for _, path := range paths {
		found, err := filesOf(path)
		if err != nil {
			errs = append(errs, fmt.Errorf("policy: list path=%s: %w", path, err))
		}
		names = append(names, found...)
	}
	if len(names) > SourcesMax {
		return nil, fmt.Errorf("policy: load: %d files: at most %d", len(names), SourcesMax)
	}
	total := 0
	sources := make([]Source, 0, len(names))
	for _, name := range names {
		text, err := readBounded(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("policy: read file=%s: %w", name, err))
			continue
		}
		if total += len(text); total > SourcesBytesMax {
			errs = append(errs, fmt.Errorf("policy: load: more than %d bytes in all files together", SourcesBytesMax))
			break
		}
		sources = append(sources, Source{name, text})
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return sources, nil
}

// filesOf returns path itself, or a directory's policy files in order.
func filesOf(path string) ([]string, error) {
	stat, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !stat.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path) // sorted by name
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		name := entry.Name()
		ext := filepath.Ext(name)
		if strings.HasPrefix(name, ".") || (ext != ".yaml" && ext != ".yml") {
			continue
		}
		full := filepath.Join(path, name)
		stat, err := os.Stat(full)
		if err != nil {
			return nil, err
		}
		if !stat.IsDir() {
			names = append(names, full)
		}
	}
	return names, nil
}

// readBounded reads a regular file: a pipe or a device could block for ever.
func readBounded(name string) ([]byte, error) {
	stat, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !stat.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	f, err := os.Open(name) //nolint:gosec // the operator names the policy files
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read from
	text, err := io.ReadAll(io.LimitReader(f, SourceBytesMax+1))
	if err != nil {
		return nil, err
	}
	if len(text) > SourceBytesMax {
		return nil, fmt.Errorf("larger than %d bytes", SourceBytesMax)
	}
	return text, nil
}
