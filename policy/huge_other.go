//go:build !linux

package policy

// askForHugePages does nothing here.
func askForHugePages[T textRecord | textSlot]([]T) {}
