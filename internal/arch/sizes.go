package arch

import (
	"go/ast"
	"path"
	"regexp"
	"slices"
	"strings"
)

// What a reader can take in at once.
const (
	fileLinesMax        = 600
	functionLinesMax    = 70 // of the body, without comments
	interfaceMethodsMax = 5
	parametersMax       = 5
)

var snakeCase = regexp.MustCompile(`^[a-z0-9]+(_[a-z0-9]+)*(\.pb)?\.go$`)

// vague are words that end a type's name when nobody knew what it is.
func vague() []string {
	return []string{"Impl", "Manager", "Helper", "Util", "Utils", "Base", "Data", "Info"}
}

// packageDoc wants one comment that says what the package is.
func (c *checker) packageDoc(p *pkg) {
	var first *file
	for _, f := range p.files {
		if f.test || f.generated {
			continue
		}
		if first == nil {
			first = f
		}
		if f.Doc == nil {
			continue
		}
		if words := subjects(p, f); !slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(f.Doc.Text(), w+" ") }) {
			c.report(f.Doc.Pos(), "package-doc", "the package comment starts with %q", words[0])
		}
		return
	}
	if first != nil {
		c.report(first.Name.Pos(), "package-doc", "package %s has no package comment: write doc.go", p.dir)
	}
}

// subjects returns what the package's comment may start with; a command's is
// its name, as godoc has it.
func subjects(p *pkg, f *file) []string {
	if f.Name.Name != "main" {
		return []string{"Package " + f.Name.Name}
	}
	name := path.Base(p.dir)
	return []string{"Command " + name, strings.ToUpper(name[:1]) + name[1:]}
}

// sizes bounds files, functions, interfaces and parameter lists.
func (c *checker) sizes(f *file) {
	if f.lines > fileLinesMax {
		c.report(f.Name.Pos(), "file-lines", "file of %d lines: at most %d", f.lines, fileLinesMax)
	}
	ast.Inspect(f.File, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			c.functionLines(f, n, n.Name.Name, n.Body)
		case *ast.FuncLit:
			c.functionLines(f, n, "the function literal", n.Body)
		case *ast.FuncType:
			if count := n.Params.NumFields(); count > parametersMax {
				c.report(n.Pos(), "parameters", "%d parameters: at most %d, or a struct", count, parametersMax)
			}
		case *ast.InterfaceType:
			if count := n.Methods.NumFields(); count > interfaceMethodsMax {
				c.report(n.Pos(), "interface-methods", "interface of %d methods: at most %d", count, interfaceMethodsMax)
			}
		}
		return true
	})
}

func (c *checker) functionLines(f *file, at ast.Node, name string, body *ast.BlockStmt) {
	if lines := c.bodyLines(f, body); lines > functionLinesMax {
		c.report(at.Pos(), "function-lines", "%s has %d lines: at most %d", name, lines, functionLinesMax)
	}
}

// bodyLines counts the lines between the braces that are not only comment.
func (c *checker) bodyLines(f *file, body *ast.BlockStmt) int {
	if body == nil {
		return 0
	}
	line := func(n ast.Node) (from, to int) {
		return c.tree.fset.Position(n.Pos()).Line, c.tree.fset.Position(n.End()).Line
	}
	from, to := line(body)
	lines := to - from - 1
	code := map[int]bool{}
	ast.Inspect(body, func(n ast.Node) bool {
		if n != nil {
			start, end := line(n)
			code[start], code[end] = true, true
		}
		return true
	})
	for _, group := range f.Comments {
		if group.Pos() < body.Pos() || group.End() > body.End() {
			continue
		}
		start, end := line(group)
		for l := start; l <= end; l++ {
			if !code[l] {
				lines--
			}
		}
	}
	return lines
}

// fileName wants snake_case.
func (c *checker) fileName(f *file) {
	base := f.path[strings.LastIndexByte(f.path, '/')+1:]
	if !snakeCase.MatchString(base) {
		c.report(f.Name.Pos(), "file-name", "%s: name files in snake_case after a noun", base)
	}
}

// typeNames refuses names that say nothing.
func (c *checker) typeNames(f *file) {
	ast.Inspect(f.File, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		for _, word := range vague() {
			if strings.HasSuffix(spec.Name.Name, word) {
				c.report(spec.Pos(), "type-name", "type %s: say what it is instead of %q", spec.Name.Name, word)
				break
			}
		}
		return true
	})
}
