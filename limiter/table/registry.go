package table

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/headgate/headgate/limiter"
)

// A registry knows the definitions that counters were charged under. A
// definition is named by its place in defs: Limit.Ref, and an entry's tag.
type registry struct {
	defs    atomic.Pointer[[]*definition] // replaced, never changed; 0 is the unknown definition
	several atomic.Bool                   // more than one domain is installed

	mu       sync.Mutex // guards what follows, and replacing defs
	installs uint64
	byDef    map[defKey]uint32
	current  map[limiter.LimitID]uint32 // the definition installed last
	domains  map[string]*domain
}

type defKey struct {
	id  limiter.LimitID
	def limiter.DefHash
}

// A definition is one version of a limit, or the stand-in for all limits that
// requests of a domain carry themselves: that one has no limit and no ID.
type definition struct {
	limit     limiter.Limit // a copy, so that it pins no policy; Kind is 0 for stand-ins
	domain    *domain       // nil for the unknown definition
	live      atomic.Int64  // entries tagged with it
	next      atomic.Uint32 // the definition that replaced it; 0 for none
	installed uint64        // the last install that it was in; guarded by registry.mu
}

// A domain counts the entries of all its definitions.
type domain struct {
	name      string
	overrides uint32 // the definition that stands for limits carried by requests
	installed uint64 // guarded by registry.mu
	_         [64]byte
	live      atomic.Int64
	_         [56]byte
}

func (r *registry) init() {
	r.defs.Store(&[]*definition{{}})
	r.byDef = map[defKey]uint32{}
	r.current = map[limiter.LimitID]uint32{}
	r.domains = map[string]*domain{}
}

// def returns the definition named ref, the unknown one if there is none.
func (r *registry) def(ref uint32) *definition {
	defs := *r.defs.Load()
	if int(ref) >= len(defs) || defs[ref] == nil {
		return defs[0]
	}
	return defs[ref]
}

// ref returns l.Ref, or 0 if l's definition was forgotten and its place taken.
func (r *registry) ref(l *limiter.Limit) uint32 {
	if d := r.def(l.Ref); d.limit.Kind != 0 && d.limit.ID != l.ID {
		return 0
	}
	return l.Ref
}

// add counts n more entries of d, which has entries or is installed.
func (d *definition) add(n int64) {
	d.live.Add(n)
	if d.domain != nil {
		d.domain.live.Add(n)
	}
}

// dead is what live of a forgotten definition counts up from. A definition is
// forgotten only by going from 0 to dead in one step, so that none is while an
// entry is being added to it.
const dead = -1 << 62

// enter counts one more entry under ref and returns what to tag it with: ref,
// or 0 if that definition was forgotten.
func (r *registry) enter(ref uint32) (uint32, *definition) {
	d := r.def(ref)
	if d.live.Add(1) < 0 {
		d.live.Add(-1)
		d = r.def(0)
		d.live.Add(1)
	}
	if d.domain != nil {
		d.domain.live.Add(1)
	}
	if d == r.def(0) {
		ref = 0
	}
	return ref, d
}

// Install makes the definitions of a new policy known and sets the Ref of each
// limit. It is called before the policy is published, and never at the same
// time as another Install or Load.
//
// Several limits may have one LimitID: a limit and its overrides for named
// values. Nobody but the charge then knows which of them a counter is under, so
// Install marks them Shared and their counters are converted when charged.
//
// A counter of a limit whose definition changed is converted the next time it
// is charged; the table is then in converting mode until ConvertStep has done
// the rest. While it is, a charge of a replaced definition is decided by the
// one that replaced it, so calls that were matched against the old policy are
// safe.
//
// A Carried limit gets the Ref of all limits that requests of its domain carry:
// their counters count towards the domain's share, and none is ever converted,
// since the terms come with each request.
//
// A definition that is not installed any more is forgotten once it has no
// counters and was in neither of the last two installs.
func (t *Table) Install(limits []*limiter.Limit) {
	if t.reg.install(limits) {
		t.startConverting()
	}
}

// install reports whether counters may need conversion.
func (r *registry) install(limits []*limiter.Limit) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.installs++
	e := r.edit()
	shared := e.internAll(limits)
	domains := 0
	for _, d := range r.domains {
		if d.installed == r.installs {
			domains++
		}
	}
	r.several.Store(domains > 1)
	e.forget()
	r.defs.Store(&e.defs) // before anything points at what is new
	return e.relink() || shared
}

// An edit is a change of the registry in progress; registry.mu is held.
type edit struct {
	r    *registry
	defs []*definition
	free int // no place below is free
}

func (r *registry) edit() *edit {
	return &edit{r: r, defs: slices.Clone(*r.defs.Load())}
}

// put stores d in a free place and returns its ref.
func (e *edit) put(d *definition) uint32 {
	for e.free++; e.free < len(e.defs); e.free++ {
		if e.defs[e.free] == nil {
			e.defs[e.free] = d
			return uint32(e.free)
		}
	}
	e.defs = append(e.defs, d)
	return uint32(len(e.defs) - 1)
}

// intern returns the ref of l's definition.
func (e *edit) intern(l *limiter.Limit) uint32 {
	dom := e.domain(l.Domain)
	if l.Carried {
		return dom.overrides
	}
	k := defKey{l.ID, l.Def}
	ref, ok := e.r.byDef[k]
	if !ok {
		ref = e.put(&definition{limit: *l, domain: dom})
		e.r.byDef[k] = ref
	}
	return ref
}

// internAll interns the limits of a policy, makes them the definitions in force
// and reports whether some share a LimitID.
func (e *edit) internAll(limits []*limiter.Limit) (shared bool) {
	refs := make([]uint32, len(limits))
	first := make(map[limiter.LimitID]uint32, len(limits))
	several := map[limiter.LimitID]bool{}
	for i, l := range limits {
		ref := e.intern(l)
		refs[i] = ref
		e.defs[ref].installed = e.r.installs
		e.defs[ref].domain.installed = e.r.installs
		if other, ok := first[l.ID]; ok && other != ref {
			several[l.ID] = true
		}
		first[l.ID] = ref
	}
	for i, l := range limits {
		switch {
		case several[l.ID]:
			delete(e.r.current, l.ID)
		case !l.Carried: // nothing replaces a stand-in
			e.r.current[l.ID] = refs[i]
		}
		// A limit that is installed again may be in use: write only what differs.
		if l.Ref != refs[i] {
			l.Ref = refs[i]
		}
		if l.Shared != several[l.ID] {
			l.Shared = several[l.ID]
		}
	}
	return len(several) > 0
}

// domain returns the domain of that name.
func (e *edit) domain(name string) *domain {
	d := e.r.domains[name]
	if d == nil {
		d = &domain{name: name}
		d.overrides = e.put(&definition{domain: d})
		e.r.domains[name] = d
	}
	return d
}

// forget frees the definitions and domains that nothing refers to.
func (e *edit) forget() {
	unused := func(installed uint64) bool { return installed+1 < e.r.installs }
	for ref, d := range e.defs {
		if ref == 0 || d == nil || d.limit.Kind == 0 || !unused(d.installed) || !d.live.CompareAndSwap(0, dead) {
			continue
		}
		id := d.limit.ID
		delete(e.r.byDef, defKey{id, d.limit.Def})
		if e.r.current[id] == uint32(ref) {
			delete(e.r.current, id)
		}
		e.defs[ref] = nil
	}
	for name, d := range e.r.domains {
		if unused(d.installed) && d.live.Load() == 0 && e.defs[d.overrides].live.CompareAndSwap(0, dead) {
			e.defs[d.overrides] = nil
			delete(e.r.domains, name)
		}
	}
}

// relink points each definition at the one that replaced it and reports
// whether any link is new.
func (e *edit) relink() (changed bool) {
	for ref, d := range e.defs {
		if d == nil || d.limit.Kind == 0 {
			continue
		}
		next, ok := e.r.current[d.limit.ID]
		if !ok || next == uint32(ref) {
			next = 0
		}
		if old := d.next.Swap(next); next != 0 && old != next {
			changed = true
		}
	}
	return changed
}
