package hold

// domainsMax bounds the domains that are told apart, "" among them. Beyond it those that
// have no reservations are forgotten, and what they have counted is that of ""; if there
// are none, a new domain is taken for "", which has one share.
const domainsMax = 1024

// Counts are figures of reservations. Records and Open are of now, the others count since
// the start.
type Counts struct {
	Records   int    // open, ended and remembered
	Open      int    // deciding, open and ending
	Opened    uint64 // that were kept
	Settled   uint64 // that were ended by a request
	Late      uint64 // of these: after the deadline
	Short     uint64 // of these: cost more than could be charged or recorded
	Undone    uint64 // given back since they were decided when nobody waited any more
	Expired   uint64 // that were not ended before their deadline
	Refused   uint64 // for want of room
	ShareFull uint64 // for want of room in the domain's share
}

func (c *Counts) add(more *Counts) {
	c.Records += more.Records
	c.Open += more.Open
	c.Opened += more.Opened
	c.Settled += more.Settled
	c.Late += more.Late
	c.Short += more.Short
	c.Undone += more.Undone
	c.Expired += more.Expired
	c.Refused += more.Refused
	c.ShareFull += more.ShareFull
}

// Stats are figures of a Book: of all, and by domain.
type Stats struct {
	Counts
	Domains map[string]Counts // at most 1,024, with "" always among them
}

// Stats returns the figures of now.
func (b *Book) Stats() Stats {
	s := Stats{Domains: make(map[string]Counts, len(b.domains))}
	for name, d := range b.domains {
		s.Domains[name] = *d
		s.add(d)
	}
	return s
}

// domain returns the figures of the domain name, if need be made now.
func (b *Book) domain(name string) *Counts {
	d := b.domains[name]
	if d != nil {
		return d
	}
	if len(b.domains) >= domainsMax && !b.foldDomains() {
		return b.domains[""]
	}
	d = new(Counts)
	b.domains[name] = d
	return d
}

// foldDomains forgets domains without reservations, and reports whether there is room
// for another one.
func (b *Book) foldDomains() bool {
	rest := b.domains[""]
	for name, d := range b.domains {
		if d.Records == 0 && d != rest {
			rest.add(d)
			delete(b.domains, name)
		}
	}
	return len(b.domains) < domainsMax
}

// room returns Done if d may have one more reservation, and else why not.
func (b *Book) room(d *Counts, alone bool) Outcome {
	switch {
	case len(b.records) >= b.bounds.Max:
		return Full
	case !alone && d.Records >= b.bounds.Share:
		return ShareFull
	default:
		return Done
	}
}
