package app

import (
	"errors"
	"io"
	"log/slog"

	"github.com/headgate/headgate/cluster/reservations"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/hold"
)

// savedReservations are the reservations of a node between a graceful stop and the next
// start. They are read when the node is built, and restored when a policy is in force
// that says what they are of: see resume.
type savedReservations struct {
	savedFile
	read *reservations.Saved // nil: there are none, or they were restored
}

// load reads the file, if there is one.
func (s *savedReservations) load() error {
	_, err := s.savedFile.load(func(r io.Reader) (err error) {
		s.read, err = reservations.Read(r)
		return err
	}, func(err error) bool {
		return errors.Is(err, reservations.ErrDamaged) || errors.Is(err, reservations.ErrVersion)
	})
	return err
}

// resumeReservations restores what was saved, once: with limits, which are in force, and
// before anybody can ask for it. The file is gone before that: what is settled now would be given
// back twice if it were restored again. One that can't be removed is not used.
func (n *node) resumeReservations(limits []*limiter.Limit) {
	saved := n.held.read
	n.held.read = nil
	if saved == nil {
		return
	}
	if err := n.held.forget(); err != nil {
		n.Log.Error("saved reservations are not used: their file can't be removed", slog.String("error", err.Error()))
		return
	}
	terms := hold.Terms{Limit: findLimits(limits), Counters: n.saved.whole, Tenure: n.quotas.holder()}
	r := n.reserved.Restore(n.clock.Now(), saved, &terms)
	n.Log.Info("saved reservations restored", slog.Int("open", r.Open), slog.Int("remembered", r.Remembered),
		slog.Int("forgotten", r.Forgotten), slog.Bool("counters", terms.Counters), slog.Time("saved_at", saved.At.Time()))
	if r.Gone > 0 {
		n.Log.Warn("saved reservations were of limits that no policy has any more: what those were charged stays",
			slog.Int("legs", r.Gone))
	}
	if r.NoRoom > 0 {
		n.Log.Warn("there is no room for all saved reservations: what the others were charged stays",
			slog.Int("reservations", r.NoRoom), slog.Int("bound", n.reserved.Bounds().Max), slog.String("setting", "reservations.max"))
	}
}

// saveReservations saves what is open or remembered. Nobody asks any more.
func (n *node) saveReservations() error {
	if n.reserved.Stats().Records == 0 {
		return nil
	}
	saved := 0
	err := n.held.save(func(w io.Writer) (err error) {
		saved, err = n.reserved.Save(w, n.clock.Now())
		return err
	})
	if err != nil {
		return err
	}
	n.Log.Info("reservations saved", slog.String("file", n.held.file), slog.Int("reservations", saved))
	return nil
}

// findLimits finds a limit by its id, and of several with the same the one that has the definition.
func findLimits(limits []*limiter.Limit) func(limiter.LimitID, limiter.DefHash) *limiter.Limit {
	type definition struct {
		id  limiter.LimitID
		def limiter.DefHash
	}
	byID, exact := map[limiter.LimitID]*limiter.Limit{}, map[definition]*limiter.Limit{}
	for _, l := range limits {
		exact[definition{l.ID, l.Def}] = l
		if byID[l.ID] == nil {
			byID[l.ID] = l
		}
	}
	return func(id limiter.LimitID, def limiter.DefHash) *limiter.Limit {
		if l := exact[definition{id, def}]; l != nil {
			return l
		}
		return byID[id]
	}
}
