package main

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A client asks over one connection, for several callers of which each has one request
// in flight.
type client struct {
	p        *server
	messages [][]byte
	next     int // of messages
	stop     *atomic.Bool

	done, refused int
	took          []time.Duration
	err           error
}

// measure has callers ask p for a while.
func (s *settings) measure(p *server, callers int) (result, error) {
	messages := make([][]byte, s.keys)
	for i := range messages {
		messages[i] = p.message(i)
	}
	var stop atomic.Bool
	all := make([]client, min(s.connections, callers))
	conns := make([]*conn, len(all))
	for i := range all {
		all[i] = client{p: p, messages: messages, next: i * s.keys / len(all), stop: &stop}
		c, err := dial(p.members[i%len(p.members)].addr, p.method, (callers+len(all)-1-i)/len(all))
		if err != nil {
			return result{}, err
		}
		defer c.close()
		conns[i] = c
	}
	var asking sync.WaitGroup
	before, err1 := p.cpu()
	began := time.Now()
	for i := range all {
		asking.Go(func() { all[i].err = all[i].ask(conns[i]) })
	}
	time.Sleep(s.duration)
	stop.Store(true)
	asking.Wait()
	elapsed := time.Since(began)
	after, err2 := p.cpu()
	r, err3 := sum(all, elapsed, after-before)
	return r, errors.Join(err1, err2, err3)
}

// ask asks until it is stopped and all is answered.
func (c *client) ask(conn *conn) error {
	waiting, active := conn.inFlight, 0
	for {
		now := time.Now()
		for ; waiting > 0 && conn.window > frameMax && !c.stop.Load(); waiting-- {
			conn.ask(now, c.messages[c.next])
			c.next = (c.next + 1) % len(c.messages)
			active++
		}
		if err := conn.flush(); err != nil {
			return err
		}
		if active == 0 {
			return nil
		}
		if err := conn.nc.SetReadDeadline(now.Add(answerMax)); err != nil {
			return err
		}
		now = time.Time{}
		err := conn.read(func(s *stream, message []byte) {
			if now.IsZero() { // all of this read have arrived by now
				now = time.Now()
			}
			active--
			waiting++
			if !c.p.done(message) {
				c.refused++
				return
			}
			c.done++
			c.took = append(c.took, now.Sub(s.start))
		})
		if err != nil {
			return err
		}
	}
}

// answerMax is how long an answer may take.
const answerMax = 10 * time.Second

// sum adds up what the clients have seen.
func sum(all []client, elapsed, cpu time.Duration) (result, error) {
	var took []time.Duration
	refused := 0
	for i := range all {
		if all[i].err != nil {
			return result{}, all[i].err
		}
		took = append(took, all[i].took...)
		refused += all[i].refused
	}
	if len(took) == 0 {
		return result{}, fmt.Errorf("none of %d was done", refused)
	}
	slices.Sort(took)
	at := func(part float64) float64 { return took[int(part*float64(len(took)-1))].Seconds() * 1000 }
	return result{
		perSecond: float64(len(took)) / elapsed.Seconds(), p50: at(0.5), p99: at(0.99),
		cpu: cpu.Seconds() / float64(len(took)) * 1e6, refused: float64(refused) / float64(refused+len(took)),
	}, nil
}
