//go:build !linux

package h2

import "net"

// directly returns nc: see direct_linux.go.
func directly(nc net.Conn) net.Conn { return nc }
