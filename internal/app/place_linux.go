package app

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// placeOf returns the place of an open file.
func placeOf(f *os.File) (place, error) {
	var st unix.Statx_t
	if err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_BTIME, &st); err != nil {
		return place{}, fmt.Errorf("statx %s: %w", f.Name(), err)
	}
	p := place{inode: st.Ino}
	if st.Mask&unix.STATX_BTIME != 0 {
		p.born = st.Btime.Sec*1e9 + int64(st.Btime.Nsec)
	}
	return p, nil
}
