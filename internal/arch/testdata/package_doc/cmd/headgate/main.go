// Package main is a fixture. want package-doc "starts with \"Command headgate\""
package main
