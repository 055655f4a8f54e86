//go:build !linux

package bench

import (
	"errors"
	"fmt"
	"time"
)

func processUsage(pid int) (usage, error) {
	return usage{}, fmt.Errorf("bench: read CPU time pid=%d: %w outside Linux", pid, errors.ErrUnsupported)
}

func ownCPU() (time.Duration, error) {
	return 0, fmt.Errorf("bench: read own CPU time: %w outside Linux", errors.ErrUnsupported)
}
