package grants

import (
	"testing"

	"github.com/headgate/headgate/limiter/quota"
)

// knowsNothing is a ledger that has applied nothing: it has no request that could be
// settled or extended, and units for every charge.
type knowsNothing struct{ Ledger }

func (knowsNothing) Answer(_ uint32, c *quota.Command) (quota.Result, bool) {
	return quota.Result{Code: quota.Unknown}, !c.Op.Begins()
}

// Who gave up on a charge says that it cost nothing. If both wait, neither is applied, and
// the second must not be answered that there is no such charge.
func TestWhatCorrectsAChargeComesBehindIt(t *testing.T) {
	l := newLine(&Config{Ledger: knowsNothing{}}, 0, newRounds(), nil)
	for op := quota.OpSpend; op.String() != quota.Op(0).String(); op++ {
		if op.Begins() {
			continue
		}
		told := func(*quota.Command, quota.Result, error) { t.Errorf("%v is answered before its charge is applied", op) }
		items := []item{{command: quota.Command{Op: quota.OpHold}, done: told}, {command: quota.Command{Op: op}, done: told}}
		if rest := l.answer(items); len(rest) != 2 || rest[0].command.Op != quota.OpHold || rest[1].command.Op != op {
			t.Errorf("%v: %d commands make an entry", op, len(rest))
		}
	}
}
