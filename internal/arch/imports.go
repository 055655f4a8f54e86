package arch

import (
	"go/ast"
	"slices"
	"strconv"
	"strings"
)

// imports holds f to its layer of the import table.
func (c *checker) imports(f *file, layer *Layer) {
	for _, spec := range f.Imports {
		target := importPath(spec)
		if spec.Name != nil && spec.Name.Name == "." {
			c.report(spec.Pos(), "imports", "no dot imports: they hide whose name it is, from readers and from banned-call")
		}
		if dir, ours := strings.CutPrefix(target, Module+"/"); ours {
			if !layer.mayImport(dir) {
				c.report(spec.Pos(), "imports", "%s may not import %s: see internal/arch/table.go", layer.Path, dir)
			}
			continue
		}
		if layer.Pure && !pureImport(target) && !slices.Contains(layer.Theirs, target) {
			c.report(spec.Pos(), "imports", "%s is pure and may not import %s", layer.Path, target)
		}
	}
}

// pureImport reports whether a computation may import the package: the parts
// of the standard library that know no file, network, lock or log.
func pureImport(target string) bool {
	switch target {
	case "cmp", "container/heap", "encoding/binary", "encoding/hex", "errors", "fmt", "hash", "iter", "maps", "math", "math/big",
		"math/bits", "slices", "sort", "strconv", "strings", "time", "unicode/utf8", "unsafe":
		return true
	default:
		return false
	}
}

func importPath(spec *ast.ImportSpec) string {
	target, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		return spec.Path.Value // the parser has let it through: it can't be matched either
	}
	return target
}
