package rest

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// client returns the address of the client that r is about, and whether who asks
// is a trusted proxy. The address is the right-most one in X-Forwarded-For that is
// not a trusted proxy's: what stands left of it is the client's own word.
// If all are, it is the left-most; without the header X-Real-IP; else who asks.
func (h *Handler) client(r *http.Request) (address string, trusted bool) {
	peer, ok := peerOf(r)
	if !ok {
		return r.RemoteAddr, false
	}
	if !h.trusts(peer) {
		return peer.String(), false
	}
	chain := addresses(r.Header.Values("X-Forwarded-For"))
	if len(chain) == 0 {
		if ip, ok := parseAddress(r.Header.Get("X-Real-Ip")); ok {
			return ip.String(), true
		}
		return peer.String(), true
	}
	client := peer
	for hops := 0; len(chain) > 0; hops++ {
		ip, ok := parseAddress(chain[len(chain)-1])
		if !ok {
			break // a proxy wrote no address: nothing left of it is known
		}
		client, chain = ip, chain[:len(chain)-1]
		if hops >= h.Hops && !h.trusts(ip) {
			break
		}
	}
	return client.String(), true
}

// peerOf returns the address at the other end of r's connection.
func peerOf(r *http.Request) (netip.Addr, bool) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, false
	}
	return parseAddress(host)
}

func (h *Handler) trusts(ip netip.Addr) bool {
	for _, p := range h.Trusted {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// addresses returns the items of all fields, in order.
func addresses(fields []string) []string {
	var list []string
	for _, f := range fields {
		for item := range strings.SplitSeq(f, ",") {
			if item = strings.TrimSpace(item); item != "" {
				list = append(list, item)
			}
		}
	}
	return list
}

// parseAddress reads an address, with or without a port, in brackets or not.
func parseAddress(text string) (netip.Addr, bool) {
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	ip, err := netip.ParseAddr(strings.Trim(text, "[]"))
	if err != nil {
		return netip.Addr{}, false
	}
	return ip.Unmap().WithZone(""), true
}
