// Package app is a fixture.
package app
