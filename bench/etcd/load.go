package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
)

// raw is a codec of bytes, so that the client's own work is the same for both.
type raw struct{}

// Marshal sends v, a []byte.
func (raw) Marshal(v any) ([]byte, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("a %T is no message", v)
	}
	return b, nil
}

// Unmarshal stores the bytes in v, a *[]byte whose room is used.
func (raw) Unmarshal(data []byte, v any) error {
	to, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("a %T is no message", v)
	}
	*to = append((*to)[:0], data...)
	return nil
}

// Name is the codec's.
func (raw) Name() string { return "proto" }

// A client asks, one request after the other.
type client struct {
	done, refused int
	took          []time.Duration
	err           error
}

// measure has clients ask p for a while.
func (s *settings) measure(ctx context.Context, p *server, clients int) (result, error) {
	messages := make([][]byte, s.keys)
	for i := range messages {
		messages[i] = p.message(i)
	}
	conns := make([]*grpc.ClientConn, min(s.connections, clients))
	for i := range conns {
		conn, err := p.dial()
		if err != nil {
			return result{}, err
		}
		defer conn.Close()
		conns[i] = conn
	}
	var stop atomic.Bool
	var asking sync.WaitGroup
	all := make([]client, clients)
	before, err1 := p.cpu()
	began := time.Now()
	for i := range all {
		asking.Go(func() {
			c := &all[i]
			for n := i; !stop.Load() && c.err == nil; n += clients {
				c.ask(ctx, p, conns[i%len(conns)], messages[n%len(messages)])
			}
		})
	}
	time.Sleep(s.duration)
	stop.Store(true)
	asking.Wait()
	elapsed := time.Since(began)
	after, err2 := p.cpu()
	r, err3 := sum(all, elapsed, after-before)
	return r, errors.Join(err1, err2, err3)
}

func (c *client) ask(ctx context.Context, p *server, conn *grpc.ClientConn, message []byte) {
	var answer []byte
	start := time.Now()
	if c.err = conn.Invoke(ctx, p.method, message, &answer); c.err != nil {
		return
	}
	if !p.done(answer) {
		c.refused++
		return
	}
	c.done++
	c.took = append(c.took, time.Since(start))
}

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
