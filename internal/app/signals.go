package app

import (
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
)

// NotifySignals returns the signals that Run wants, until stop is called:
// SIGINT and SIGTERM to stop, SIGHUP to read policies and certificates
// again.
func NotifySignals() (signals <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 4)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	return c, func() { signal.Stop(c) }
}

// What systemd is told.
const (
	systemdReady    = daemon.SdNotifyReady
	systemdStopping = daemon.SdNotifyStopping
)

func systemdReloading() string {
	return daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec()
}

// tellSystemd does nothing where systemd did not start the node.
func (n *node) tellSystemd(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		n.Log.Warn("systemd was not told", slog.String("error", err.Error()))
	}
}
