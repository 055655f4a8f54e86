package policy

import "github.com/headgate/headgate/limiter"

// ReservationKey returns the key of the reservation that id names in a domain: another
// one than any holder's and any counter's.
func (s *Snapshot) ReservationKey(domain, id []byte) limiter.Key {
	b := append(make([]byte, 0, 64), "headgate/1 reservation"...)
	return s.hasher.Key(limiter.AppendValue(limiter.AppendValue(b, domain), id))
}

// ContentKey returns a hash of what a request says, for telling two requests apart.
func (s *Snapshot) ContentKey(content []byte) limiter.Key {
	b := append(make([]byte, 0, 64+len(content)), "headgate/1 content"...)
	return s.hasher.Key(limiter.AppendValue(b, content))
}

// Several reports whether there are policies of several domains.
func (s *Snapshot) Several() bool { return len(s.domains) > 1 }
