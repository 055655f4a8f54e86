//go:build !linux

package app

import "os"

// placeOf knows no place here: copies of a data directory are not told from it.
func placeOf(*os.File) (place, error) { return place{}, nil }
