// This package is a fixture. want package-doc "starts with \"Package policy"
package policy
