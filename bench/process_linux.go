package bench

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// tick is the unit of CPU time in /proc: USER_HZ is 100 on every Linux.
const tick = 10 * time.Millisecond

// processUsage reads what the process with the given id has used. It fails if
// there is none, or if it has ended.
func processUsage(pid int) (usage, error) {
	var u usage
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, fmt.Errorf("bench: read CPU time pid=%d: %w", pid, err)
	}
	// The second field is the command's name in parentheses, with anything in it.
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 13 || f[0][0] == 'Z' || f[0][0] == 'X' {
		return u, fmt.Errorf("bench: read CPU time pid=%d: the process has ended", pid)
	}
	for _, s := range f[11:13] { // utime, stime
		n, err := strconv.ParseInt(string(s), 10, 64)
		if err != nil {
			return u, fmt.Errorf("bench: read CPU time pid=%d: %w", pid, err)
		}
		u.cpu += time.Duration(n) * tick
	}
	b, err = os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, fmt.Errorf("bench: read memory pid=%d: %w", pid, err)
	}
	u.rssBytes, u.rssMax = kilobytes(b, "VmRSS:"), kilobytes(b, "VmHWM:")
	return u, nil
}

// kilobytes returns the value in bytes of a line "NAME  n kB", 0 without one.
func kilobytes(status []byte, name string) int64 {
	for line := range bytes.Lines(status) {
		if rest, ok := bytes.CutPrefix(line, []byte(name)); ok {
			n, _ := strconv.ParseInt(string(bytes.TrimSuffix(bytes.TrimSpace(rest), []byte(" kB"))), 10, 64)
			return n << 10
		}
	}
	return 0
}

// ownCPU returns the CPU time that this process has used.
func ownCPU() (time.Duration, error) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0, fmt.Errorf("bench: read own CPU time: %w", err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), nil
}
