package holdings_test

import (
	"pgregory.net/rapid"

	"github.com/headgate/headgate/limiter/quota"
)

// faults are what a ledger does with the commands that wait: it answers one of them, whichever,
// or loses the answer or the command, or applies it twice or later.
func (l *ledger) faults() map[string]func(*rapid.T) {
	one := func(do func(sent)) func(*rapid.T) {
		return func(t *rapid.T) {
			if l.waiting() == 0 {
				t.Skip("nothing waits")
			}
			do(l.take(rapid.IntRange(0, l.waiting()-1).Draw(t, "which")))
		}
	}
	return map[string]func(*rapid.T){
		"answer": one(func(s sent) { s.done(&s.c, l.apply(s.c), nil) }),
		"answer is lost": one(func(s sent) {
			l.apply(s.c)
			s.done(&s.c, quota.Result{}, errLost)
		}),
		"command is lost, or applied later": one(func(s sent) {
			s.done(&s.c, quota.Result{}, errLost)
			_ = l.submit(s.c, func(*quota.Command, quota.Result, error) {})
		}),
		"applied twice": one(func(s sent) {
			l.apply(s.c)
			s.done(&s.c, l.apply(s.c), nil)
		}),
	}
}
