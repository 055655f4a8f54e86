package decision

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/batch"
	"github.com/headgate/headgate/api/wire"
	"github.com/headgate/headgate/limiter"
)

// Tags of StreamCheck.
const (
	tagStreamID    = 1<<3 | number
	tagStreamCheck = 2<<3 | message
)

// A work is what it takes to decide one message of a stream: lent by a Service,
// so that a stream that waits for its next message holds nothing.
type work struct {
	s       *Service
	g       batch.Group
	answers answers
	late    []*api.Exchange // left to the Decider since the last call of next
	hook    func(*api.Exchange)
	fill    func([]byte) []byte // answers.take

	now  limiter.Instant
	rest wire.Reader // checks that are not decided yet
	more bool
	at   int // of the group's first check that is not charged yet
}

// work lends a work whose late checks are told to hook.
func (s *Service) work(hook func(*api.Exchange)) *work {
	w, _ := s.works.Get().(*work)
	if w == nil {
		w = &work{s: s}
		w.fill = w.answers.take
	}
	w.hook = hook
	return w
}

// done takes w back.
func (s *Service) done(w *work) {
	w.g.Release(s.Desk)
	w.answers.trim()
	w.hook, w.rest = nil, wire.Reader{}
	clear(w.late[:cap(w.late)])
	s.works.Put(w)
}

// checks begins with the CheckStreamRequest in, which batch.Count has accepted.
func (w *work) checks(in []byte, now limiter.Instant) {
	w.now, w.rest, w.more, w.at = now, wire.NewReader(in), true, 0
}

// next decides checks until all are, or the answers must be sent. It returns
// false when there was nothing left to do.
func (w *work) next() bool {
	some := false
	for w.more || w.at < w.g.Len() {
		some = true
		if w.at == w.g.Len() {
			w.match()
		}
		if !w.charge() {
			return true
		}
	}
	return some
}

// match reads and matches the next group.
func (w *work) match() {
	w.g.Empty()
	w.at = 0
	for !w.g.Full() {
		var check []byte
		if check, w.more = batch.Next(&w.rest); !w.more {
			break
		}
		x := w.g.Next(w.s.Desk, w.hook)
		x.Patient = true
		w.g.Add(w.s.Desk, decodeStreamCheck(check, &w.s.Bounds, x))
	}
	w.g.Match(w.s.Desk)
}

// charge decides the group as far as there is room for the answers.
func (w *work) charge() bool {
	for ; w.at < w.g.Len(); w.at++ {
		x := w.g.At(w.at)
		if !w.answers.fits(x) {
			return false
		}
		pending, err := w.g.Charge(w.s.Desk, w.now, w.at)
		switch {
		case pending:
			x.Keep()
			w.late = append(w.late, x)
		case err != nil:
			w.s.Desk.CountFault()
			w.answers.addError(x.Errand.ID, err)
		default:
			w.answers.add(x)
		}
	}
	return true
}

// answer adds the answer of a late check, if there is room.
func (w *work) answer(x *api.Exchange) bool {
	if !w.answers.fits(x) {
		return false
	}
	if err := x.Fault(); err != nil {
		w.s.Desk.CountFault()
		w.answers.addError(x.Errand.ID, err)
	} else {
		w.answers.add(x)
	}
	return true
}

// isStreamCheck reports whether b is a StreamCheck, as far as that takes no look
// into the check itself.
func isStreamCheck(b []byte) bool {
	w := wire.NewReader(b)
	for w.More() {
		var ok bool
		switch {
		case w.Is(tagStreamID):
			_, ok = w.Varint()
		case w.Is(tagStreamCheck):
			_, ok = w.Bytes()
		default:
			var num protowire.Number
			var typ protowire.Type
			if num, typ, ok = w.Tag(); ok {
				ok = w.Skip(num, typ)
			}
		}
		if !ok {
			return false
		}
	}
	return true
}

// decodeStreamCheck reads b, which isStreamCheck has accepted, into x. The
// error, a *api.Fault, is about the check in it.
func decodeStreamCheck(b []byte, bounds *api.Bounds, x *api.Exchange) error {
	var id, detail uint64
	var err error
	d := newDecoder(bounds, &x.Req)
	d.slots.last = fieldID
	w := wire.NewReader(b)
	for w.More() {
		if w.Is(tagStreamID) {
			id, _ = w.Varint()
			continue
		}
		num, typ := protowire.Number(2), protowire.BytesType
		if !w.Is(tagStreamCheck) {
			num, typ, _ = w.Tag()
		}
		switch {
		case num == 1 && typ == protowire.VarintType:
			id, _ = w.Varint()
		case num == 2 && typ == protowire.BytesType:
			check, _ := w.Bytes()
			if err == nil {
				err = d.request(check)
			}
		case num == 3 && typ == protowire.VarintType:
			detail, _ = w.Varint()
		default:
			w.Skip(num, typ)
		}
	}
	x.Errand = errand(id, d.explain, detail != 0)
	if err != nil {
		return err
	}
	if err := d.finish(false); err != nil {
		return err
	}
	return d.name(false)
}
