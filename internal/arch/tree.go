package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// A Tree is the parsed source of one module.
type Tree struct {
	root     string
	fset     *token.FileSet
	packages map[string]*pkg // by directory, "." for the root
}

// A pkg is one directory with Go files.
type pkg struct {
	dir   string
	files []*file
}

// A file is one Go file.
type file struct {
	*ast.File
	path      string // slash-separated, relative to the root
	lines     int
	test      bool
	generated bool
}

// A Violation is one broken rule.
type Violation struct {
	Path    string // relative to the root
	Line    int
	Rule    string // the rule's name, as in Tree.Check
	Message string // what is wrong and what to do
}

// String returns v as compilers print errors.
func (v Violation) String() string {
	return fmt.Sprintf("%s:%d: %s (%s)", v.Path, v.Line, v.Message, v.Rule)
}

// Load parses every Go file under root, whatever its build tags. It leaves out
// testdata, nested modules, and directories whose names start with a dot or an
// underscore.
func Load(root string) (*Tree, error) {
	t := &Tree{root: root, fset: token.NewFileSet(), packages: map[string]*pkg{}}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != root && skipDir(name) {
				return fs.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(name, ".go") {
			return t.add(name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("arch: load %s: %w", root, err)
	}
	return t, nil
}

func skipDir(name string) bool {
	base := filepath.Base(name)
	if base == "testdata" || base == "bin" || base[0] == '.' || base[0] == '_' {
		return true
	}
	_, err := os.Stat(filepath.Join(name, "go.mod"))
	return err == nil
}

func (t *Tree) add(name string) error {
	src, err := os.ReadFile(name) //nolint:gosec // the paths come from walking our own tree
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(t.root, name)
	if err != nil {
		return err
	}
	rel = filepath.ToSlash(rel)
	parsed, err := parser.ParseFile(t.fset, rel, src, parser.ParseComments)
	if err != nil {
		return err
	}
	if ignored(parsed) {
		return nil
	}
	dir := path.Dir(rel)
	p := t.packages[dir]
	if p == nil {
		p = &pkg{dir: dir}
		t.packages[dir] = p
	}
	p.files = append(p.files, &file{
		File:      parsed,
		path:      rel,
		lines:     strings.Count(string(src), "\n"),
		test:      strings.HasSuffix(rel, "_test.go"),
		generated: ast.IsGenerated(parsed),
	})
	return nil
}

// ignored reports whether f is a stand-alone program that no build includes.
func ignored(f *ast.File) bool {
	for _, group := range f.Comments {
		if group.Pos() > f.Package {
			return false
		}
		for _, c := range group.List {
			if c.Text == "//go:build ignore" {
				return true
			}
		}
	}
	return false
}

// Check returns every violation of the tree's rules, in the order of the
// files. The rules are: imports, package-doc, file-lines, function-lines,
// interface-methods, parameters, banned-call, goroutine, init, package-variable,
// file-name and type-name.
func (t *Tree) Check(table []Layer) []Violation {
	c := checker{tree: t}
	for _, dir := range t.dirs() {
		p := t.packages[dir]
		layer := layerOf(table, dir)
		if layer == nil {
			c.report(p.files[0].Name.Pos(), "imports", "package %s is not in the import table: give it a layer in internal/arch/table.go", dir)
			layer = &Layer{Path: dir, Ours: []string{"**"}}
		}
		c.packageDoc(p)
		for _, f := range p.files {
			c.fileName(f)
			if f.generated {
				c.imports(f, layer)
				continue
			}
			if f.test {
				continue
			}
			c.imports(f, layer)
			c.sizes(f)
			c.typeNames(f)
			c.shellOnly(f, layer)
		}
	}
	return c.found
}

func (t *Tree) dirs() []string {
	dirs := make([]string, 0, len(t.packages))
	for dir := range t.packages {
		dirs = append(dirs, dir)
	}
	slices.Sort(dirs)
	return dirs
}

// A checker collects violations.
type checker struct {
	tree  *Tree
	found []Violation
}

func (c *checker) report(pos token.Pos, rule, format string, args ...any) {
	p := c.tree.fset.Position(pos)
	c.found = append(c.found, Violation{Path: p.Filename, Line: p.Line, Rule: rule, Message: fmt.Sprintf(format, args...)})
}
