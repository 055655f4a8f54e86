package arch

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

// bannedCalls are functions that only shell packages may use, by import path.
// A trailing * stands for any ending.
func bannedCalls() map[string][]string {
	return map[string][]string{
		"time": {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"},
		"fmt":  {"Print*"},
		"os":   {"Getenv", "LookupEnv", "Environ", "Exit"},
		"log":  {"*"},
	}
}

// shellOnly keeps clocks, terminals, environments, init functions and package
// variables out of everything but the shell, and goroutines out of what is pure.
func (c *checker) shellOnly(f *file, layer *Layer) {
	for _, decl := range f.Decls {
		if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			c.report(fn.Pos(), "init", "no init functions: wire it in internal/app")
		}
	}
	if layer.Pure {
		ast.Inspect(f.File, func(n ast.Node) bool {
			if g, ok := n.(*ast.GoStmt); ok {
				c.report(g.Pos(), "goroutine", "%s is pure and starts no goroutine", layer.Path)
			}
			return true
		})
	}
	if layer.Shell {
		return
	}
	c.calls(f, layer)
	for _, decl := range f.Decls {
		if d, ok := decl.(*ast.GenDecl); ok && d.Tok == token.VAR {
			c.packageVariables(d)
		}
	}
}

func (c *checker) calls(f *file, layer *Layer) {
	names := map[string][]string{} // the banned functions, by the package's name in f
	banned := bannedCalls()
	if layer.Times {
		delete(banned, "time")
	}
	for _, spec := range f.Imports {
		target := importPath(spec)
		name := target[strings.LastIndexByte(target, '/')+1:]
		if spec.Name != nil {
			name = spec.Name.Name
		}
		if functions, ok := banned[target]; ok {
			names[name] = functions
		}
	}
	ast.Inspect(f.File, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := sel.X.(*ast.Ident)
		if ok && slices.ContainsFunc(names[x.Name], func(pattern string) bool { return matches(pattern, sel.Sel.Name) }) {
			c.report(sel.Pos(), "banned-call", "%s.%s is for the shell packages: take an Instant, an Events func or a setting", x.Name, sel.Sel.Name)
		}
		return true
	})
}

// packageVariables allows what never changes although Go can't say so: sentinel
// errors, compiled patterns, embedded files, and assertions that a type has an
// interface.
func (c *checker) packageVariables(d *ast.GenDecl) {
	for _, s := range d.Specs {
		spec, ok := s.(*ast.ValueSpec)
		if !ok || embedded(d.Doc) || embedded(spec.Doc) {
			continue
		}
		for i, name := range spec.Names {
			if name.Name == "_" || strings.HasPrefix(strings.ToLower(name.Name), "err") {
				continue
			}
			if i < len(spec.Values) && compiledPattern(spec.Values[i]) {
				continue
			}
			c.report(name.Pos(), "package-variable", "package variable %s: make it a constant, a function or a field", name.Name)
		}
	}
}

func embedded(doc *ast.CommentGroup) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") })
}

func compiledPattern(v ast.Expr) bool {
	call, ok := v.(*ast.CallExpr)
	if !ok {
		return false
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && x.Name == "regexp" && sel.Sel.Name == "MustCompile"
}
