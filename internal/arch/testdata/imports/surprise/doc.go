// Package surprise is a fixture.
package surprise // want imports "package surprise is not in the import table"
