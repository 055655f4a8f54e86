package policy

import (
	"bytes"
	"net/netip"
)

// parseAddress reads an IP address as netip.ParseAddr does, without its
// allocations. IPv4-mapped addresses are IPv4 ones; an address with a zone is
// none.
func parseAddress(b []byte) (netip.Addr, bool) {
	const longest = len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255")
	if len(b) == 0 || len(b) > longest {
		return netip.Addr{}, false
	}
	if bytes.IndexByte(b, ':') < 0 {
		v4, ok := parseIPv4(b)
		return netip.AddrFrom4(v4), ok
	}
	v6, ok := parseIPv6(b)
	return netip.AddrFrom16(v6).Unmap(), ok
}

// parseIPv4 reads four decimal numbers without leading zeros.
func parseIPv4(b []byte) (ip [4]byte, ok bool) {
	for i := range ip {
		if i > 0 {
			if len(b) == 0 || b[0] != '.' {
				return ip, false
			}
			b = b[1:]
		}
		n, digits := 0, 0
		for digits < len(b) && digits < 4 && b[digits] >= '0' && b[digits] <= '9' {
			n = 10*n + int(b[digits]-'0')
			digits++
		}
		if digits == 0 || n > 255 || (digits > 1 && b[0] == '0') {
			return ip, false
		}
		ip[i] = byte(n)
		b = b[digits:]
	}
	return ip, len(b) == 0
}

// parseIPv6 reads up to eight groups, one `::` and an IPv4 tail.
func parseIPv6(b []byte) (ip [16]byte, ok bool) {
	gap, at := -1, 0 // where `::` was; bytes of ip that are set
	if bytes.HasPrefix(b, []byte("::")) {
		gap, b = 0, b[2:]
	}
	for len(b) > 0 {
		n, digits := hexGroup(b)
		if digits == 0 || at == len(ip) {
			return ip, false
		}
		if digits < len(b) && b[digits] == '.' {
			v4, ok := parseIPv4(b)
			if !ok || at > len(ip)-len(v4) {
				return ip, false
			}
			at += copy(ip[at:], v4[:])
			break
		}
		ip[at], ip[at+1] = byte(n>>8), byte(n)
		at += 2
		if b = b[digits:]; len(b) == 0 {
			break
		}
		if b[0] != ':' || len(b) == 1 {
			return ip, false
		}
		if b = b[1:]; b[0] == ':' {
			if gap >= 0 {
				return ip, false
			}
			gap, b = at, b[1:]
		}
	}
	return expandGap(ip, gap, at)
}

// expandGap moves what follows `::` to the end. It stands for at least one
// group; an address without it (gap −1) must be complete.
func expandGap(ip [16]byte, gap, at int) ([16]byte, bool) {
	if gap < 0 || at == len(ip) {
		return ip, gap < 0 && at == len(ip)
	}
	tail := at - gap
	copy(ip[len(ip)-tail:], ip[gap:at])
	clear(ip[gap : len(ip)-tail])
	return ip, true
}

// hexGroup reads up to four hexadecimal digits; five or more count as none.
func hexGroup(b []byte) (n, digits int) {
	for digits < len(b) {
		var d byte
		switch c := b[digits]; {
		case c >= '0' && c <= '9':
			d = c - '0'
		case c >= 'a' && c <= 'f':
			d = c - 'a' + 10
		case c >= 'A' && c <= 'F':
			d = c - 'A' + 10
		default:
			return n, digits
		}
		if digits == 4 {
			return 0, 0
		}
		n = n<<4 | int(d)
		digits++
	}
	return n, digits
}
