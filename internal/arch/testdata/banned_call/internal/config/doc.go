// Package config is a fixture: a shell package may ask the environment.
package config

import "os"

var home = os.Getenv("HOME")
