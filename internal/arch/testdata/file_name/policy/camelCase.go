// Package policy is a fixture.
package policy // want file-name "camelCase.go: name files in snake_case"
