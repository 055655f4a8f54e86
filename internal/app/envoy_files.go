package app

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/headgate/headgate/policy"
)

// envoyDepthMax is how many directories below envoyFiles.dir are looked into.
const envoyDepthMax = 8

// envoyFiles are configuration files of the reference service, read where it
// reads them: a directory, of which every file counts, whatever its name. An
// empty one limits nothing, as there.
type envoyFiles struct {
	dir      string // "": none
	root     string // above dir, replaced as a whole; "": dir
	dotFiles bool
}

// names returns the files in order.
func (e *envoyFiles) names() ([]string, error) {
	if e.dir == "" {
		return nil, nil
	}
	var names []string
	var walk func(dir string, depth int) error
	walk = func(dir string, depth int) error {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			name := entry.Name()
			if strings.HasPrefix(name, ".") && !e.dotFiles {
				continue
			}
			full := filepath.Join(dir, name)
			stat, err := os.Stat(full) // where a link leads
			switch {
			case err != nil:
				return err
			case stat.IsDir() && entry.Type()&fs.ModeSymlink != 0: // the service does not follow these
			case !stat.IsDir():
				names = append(names, full)
			case depth == envoyDepthMax:
				return fmt.Errorf("%s: more than %d directories deep", full, envoyDepthMax)
			default:
				if err := walk(full, depth+1); err != nil {
					return err
				}
			}
			if len(names) > policy.SourcesMax {
				return fmt.Errorf("%s: more than %d files", e.dir, policy.SourcesMax)
			}
		}
		return nil
	}
	return names, walk(e.dir, 0)
}

// load returns the texts of the files as they were at one moment, as far as can
// be told.
func (e *envoyFiles) load() ([]policy.Source, error) {
	for attempt := 1; ; attempt++ {
		before := e.sign()
		names, err := e.names()
		var sources []policy.Source
		if err == nil {
			sources, err = policy.Load(names...)
		}
		if e.sign() != before && attempt < loadAttempts {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("app: %w: %w", ErrPolicies, err)
		}
		return sources, nil
	}
}

// sign changes when the files do, or where they are.
func (e *envoyFiles) sign() string {
	names, err := e.names()
	text := signature(append(e.places(), names...))
	if err != nil {
		text += err.Error()
	}
	return text
}

// places returns what is watched.
func (e *envoyFiles) places() []string {
	switch {
	case e.dir == "":
		return nil
	case e.root == "":
		return []string{e.dir}
	default:
		return []string{e.root, e.dir}
	}
}
