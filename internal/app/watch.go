package app

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// debounceMax is after how many times the debounce span a change is read even
// if files are still changing.
const debounceMax = 10

// A watch calls changed when files under paths may have changed. It watches
// directories, not files, so that it sees a file replaced by rename (editors),
// and the `..data` link of a Kubernetes volume; and it looks at the files now
// and then, for file systems that do not tell.
type watch struct {
	paths    []string
	sign     func() string // changes when the files do; nil: signature of paths
	debounce time.Duration
	poll     time.Duration
	changed  func()
	log      *slog.Logger
}

// run watches until ctx ends. seen is the signature of what was read last.
func (w *watch) run(ctx context.Context, seen string) {
	var events <-chan fsnotify.Event
	var errs <-chan error
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		w.log.Warn("no file notifications: files are only looked at now and then",
			slog.Any("files", w.paths), slog.String("error", err.Error()), slog.Duration("every", w.poll))
	} else {
		defer notify.Close() //nolint:errcheck // nothing is lost
		events, errs = notify.Events, notify.Errors
		w.add(notify)
		if w.signature() != seen {
			w.changed() // before there was somebody to notice
		}
	}
	poll := time.NewTicker(w.poll)
	defer poll.Stop()
	quiet := time.NewTimer(0)
	quiet.Stop()
	defer quiet.Stop()
	var latest time.Time // when a change is read at the latest; zero: there is none
	certain := false     // one of the files changed, not a neighbour
	read := func() {
		latest = time.Time{}
		quiet.Stop()
		if now := w.signature(); certain || now != seen {
			seen, certain = now, false
			w.changed()
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-events:
			certain = certain || w.concerns(e.Name)
			if latest.IsZero() {
				latest = time.Now().Add(debounceMax * w.debounce)
			}
			quiet.Reset(max(0, min(w.debounce, time.Until(latest))))
		case err := <-errs:
			w.log.Warn("file notifications", slog.String("error", err.Error()))
		case <-quiet.C:
			read()
		case <-poll.C:
			if notify != nil {
				w.add(notify) // a directory that was made anew is not watched any more
			}
			if latest.IsZero() {
				read()
			}
		}
	}
}

// signature changes when what is watched does.
func (w *watch) signature() string {
	if w.sign != nil {
		return w.sign()
	}
	return signature(w.paths)
}

// concerns reports whether name is one of the paths, or in one and may say what
// the policies are.
func (w *watch) concerns(name string) bool {
	name = filepath.Clean(name)
	for _, path := range w.paths {
		path = filepath.Clean(path)
		if name == path || filepath.Dir(name) == path && isPolicyEntry(filepath.Base(name)) {
			return true
		}
	}
	return false
}

// isPolicyEntry reports whether the entry of a directory may say what the
// policies are: a policy file, or the link that a Kubernetes volume's lead
// through. The node's own log may be a neighbour.
func isPolicyEntry(name string) bool {
	ext := filepath.Ext(name)
	return name == "..data" || !strings.HasPrefix(name, ".") && (ext == ".yaml" || ext == ".yml")
}

// add watches the directories whose entries say what the policies are. Adding
// one again does nothing.
func (w *watch) add(notify *fsnotify.Watcher) {
	for _, path := range w.paths {
		dirs := []string{filepath.Dir(path)}
		if stat, err := os.Stat(path); err == nil && stat.IsDir() {
			dirs = append(dirs, path)
		}
		if place, err := filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(place)) // where a link leads to
		}
		for _, dir := range dirs {
			if err := notify.Add(dir); err != nil {
				w.log.Debug("directory is not watched", slog.String("directory", dir), slog.String("error", err.Error()))
			}
		}
	}
}
