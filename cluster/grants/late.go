package grants

import "github.com/headgate/headgate/limiter/quota"

// timely returns the items that are worth sending, in the room of batch. The others, whose
// callers have been answered meanwhile, are told quota.ErrLate: under overload an entry is
// then not filled with what helps nobody. One that was sent before may have been done, so it
// is sent again whatever its deadline.
func (l *line) timely(batch []item) (rest []item) {
	now := l.cfg.Now()
	rest = batch[:0]
	for i := range batch {
		it := batch[i]
		if d := it.command.Deadline; d == 0 || now <= d || it.until != 0 {
			rest = append(rest, it)
			continue
		}
		l.count(func(s *LineStats) { s.ended(&it, EndLate) })
		it.done(&it.command, quota.Result{}, quota.ErrLate)
	}
	return rest
}
