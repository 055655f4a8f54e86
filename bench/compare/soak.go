package main

import (
	"fmt"
	"time"
)

// soak fills a table with s.keys, then decides random ones of them in rounds,
// and prints what it takes.
func soak(s settings) error {
	sub, err := newSubject()
	if err != nil {
		return err
	}
	report := func(what string, n, keys int, took time.Duration) error {
		b, err := residentBytes()
		if err != nil {
			return err
		}
		fmt.Printf("%-10s %11d keys %7.1f ns a decision %9.1f MB %6.2f bytes a key\n",
			what, keys, float64(took.Nanoseconds())/float64(n), float64(b)/1e6, float64(b)/float64(keys))
		return nil
	}
	step := max(1, s.keys/10)
	for done := 0; done < s.keys; {
		n := min(step, s.keys-done)
		begin := time.Now()
		for i := done; i < done+n; i++ {
			k := hashed(uint64(i))
			sub.decide(sub.now(), k, k.Partition())
		}
		done += n
		if err := report("fill", n, done, time.Since(begin)); err != nil {
			return err
		}
	}
	for round := range s.rounds {
		begin := time.Now()
		for i := range s.ops {
			k := hashed(pick(mix(uint64(round*s.ops+i)), s.keys))
			sub.decide(sub.now(), k, k.Partition())
		}
		if err := report("decide", s.ops, s.keys, time.Since(begin)); err != nil {
			return err
		}
	}
	st := sub.table.Stats()
	if st.Entries != int64(s.keys) || st.TableFullAllowed > 0 {
		return fmt.Errorf("soak: %d entries, want %d", st.Entries, s.keys)
	}
	return nil
}
