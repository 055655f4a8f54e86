// Package limiter is a fixture.
package limiter

import (
	_ "fmt"
	_ "os"                       // want imports "limiter is pure and may not import os"
	_ "google.golang.org/grpc"   // want imports "may not import google.golang.org/grpc"
	_ "github.com/dchest/siphash"
)
