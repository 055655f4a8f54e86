package main

import (
	"fmt"
	"sync"
)

// scale compares the decisions a second of two goroutines with those of one,
// on random pre-hashed keys of one limit.
func scale(s settings) error {
	sub, err := newSubject()
	if err != nil {
		return err
	}
	for i := range s.keys {
		k := hashed(uint64(i))
		sub.decide(sub.now(), k, k.Partition())
	}
	subjects := []*subject{sub, sub.another()}
	work := func(g, n int) {
		s, keys, now := subjects[g], s.keys, sub.now()
		for i := range n {
			k := hashed(pick(mix(uint64(g*n+i)), keys))
			s.decide(now, k, k.Partition())
		}
	}
	r := compete(s, []contestant{
		{"one", func(n int) { work(0, n) }},
		{"two", func(n int) {
			var wg sync.WaitGroup
			wg.Go(func() { work(0, n/2) })
			wg.Go(func() { work(1, n/2) })
			wg.Wait()
		}},
	})
	r.print("one")
	fmt.Printf("\ntwo decide %.2f × as many as one\n", 1/ratio(r.ns[1], r.ns[0]))
	return nil
}
