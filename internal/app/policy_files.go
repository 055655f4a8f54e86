package app

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/headgate/headgate/policy"
)

// ErrPolicies means that policies can't be served: a file is missing, can't be
// read or has problems. The chain then has policy.Problems, too, if it is what
// the files say that is wrong.
var ErrPolicies = errors.New("policies refused")

// loadAttempts is how often files are read again that changed meanwhile.
const loadAttempts = 5

// LoadPolicies returns the texts of policy files, as policy.Load does, as they
// were at one moment, as far as can be told: files that change while they are
// read are read again. A directory without a policy file is an error: it is
// being replaced rather than meant to limit nothing.
func LoadPolicies(paths ...string) ([]policy.Source, error) {
	for attempt := 1; ; attempt++ {
		before := signature(paths)
		sources, err := policy.Load(paths...)
		if after := signature(paths); after != before && attempt < loadAttempts {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("app: %w: %w", ErrPolicies, err)
		}
		for _, path := range paths {
			clean := filepath.Clean(path)
			if !slices.ContainsFunc(sources, func(s policy.Source) bool {
				name := filepath.Clean(s.Name)
				return name == clean || filepath.Dir(name) == clean
			}) {
				return nil, fmt.Errorf("app: %w: no .yaml or .yml file in %s", ErrPolicies, path)
			}
		}
		return sources, nil
	}
}

// ParsePolicies is policy.Parse for a node. A file without a document is a
// problem: it was emptied to be written anew rather than meant to take its
// domains' limits away. `limits: []` of a domain does that.
func ParsePolicies(sources []policy.Source) ([]*policy.Document, policy.Problems) {
	docs, problems := policy.Parse(sources)
	if len(problems) >= policy.ProblemsMax {
		return docs, problems // some are only counted: nobody knows of which files
	}
	spoken := map[string]bool{}
	for _, doc := range docs {
		spoken[doc.Pos.File] = true
	}
	for _, p := range problems {
		spoken[p.File] = true
	}
	for _, s := range sources {
		if !spoken[s.Name] {
			problems = append(problems, policy.Problem{
				Position: policy.Position{File: s.Name, Line: 1, Column: 1},
				Message:  "the file has no document", Expected: "domain: NAME, and its limits",
			})
		}
	}
	return docs, problems
}
