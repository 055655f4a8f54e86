package main

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
)

// residentBytes returns the process's resident memory (VmRSS).
func residentBytes() (int64, error) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("resident memory: %w", err)
	}
	_, rest, _ := bytes.Cut(b, []byte("VmRSS:"))
	fields := bytes.Fields(rest)
	if len(fields) == 0 {
		return 0, errors.New("resident memory: /proc/self/status names no VmRSS")
	}
	kib, err := strconv.ParseInt(string(fields[0]), 10, 64)
	return kib << 10, err
}

// rss grows a table to s.keys and prints the bytes a key of the whole process
// at 20 sizes, spread evenly over the logarithm, from half of s.keys to all,
// and the most that was seen at any of 20,000 sizes in between.
func rss(s settings) error {
	sub, err := newSubject()
	if err != nil {
		return err
	}
	const sizes = 20
	worst, most, next := 0.0, 0.0, 0
	for n := 1; n <= s.keys; n++ {
		k := hashed(uint64(n))
		sub.decide(sub.now(), k, k.Partition())
		due := n >= int(float64(s.keys)/2*math.Pow(2, float64(next)/(sizes-1)))
		if !due && (n < s.keys/2 || n%max(1, s.keys/40_000) != 0) {
			continue
		}
		b, err := residentBytes()
		if err != nil {
			return err
		}
		perKey := float64(b) / float64(n)
		most = max(most, perKey)
		if due {
			next++
			worst = max(worst, perKey)
			fmt.Printf("%10d keys %8.1f MB %6.2f bytes a key\n", n, float64(b)/1e6, perKey)
		}
	}
	fmt.Printf("\nworst of %d sizes: %.2f bytes a key; at any size: %.2f\n", next, worst, most)
	return nil
}
