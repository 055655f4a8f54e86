package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	guber "github.com/gubernator-io/gubernator/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
)

// raw is a codec of bytes, so that the client's own work stays out of the figures.
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

// batches returns messages that ask for all keys.
func (s *settings) batches() ([][]byte, error) {
	var all [][]byte
	for from := 0; from < s.keys; from += s.batch {
		req := &guber.GetRateLimitsReq{}
		for i := range s.batch {
			req.Requests = append(req.Requests, &guber.RateLimitReq{
				Name: "requests_per_hour", UniqueKey: fmt.Sprintf("account:%d", from+i),
				Hits: 1, Limit: 1_000_000_000, Duration: 3_600_000,
			})
		}
		b, err := proto.Marshal(req)
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}

// measure asks p for a while, closed loop.
func (s *settings) measure(ctx context.Context, p *process) (result, error) {
	batches, err := s.batches()
	if err != nil {
		return result{}, err
	}
	var decided atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, s.connections)
	ready := make(chan struct{})
	stop := make(chan struct{})
	for i := range s.connections {
		cc, err := grpc.NewClient(p.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})))
		if err != nil {
			return result{}, err
		}
		defer cc.Close()
		if err := s.checked(ctx, cc, batches[0]); err != nil {
			return result{}, err
		}
		wg.Go(func() {
			<-ready
			var answer []byte
			for n := i; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if errs[i] = cc.Invoke(ctx, guber.V1_GetRateLimits_FullMethodName, batches[n%len(batches)], &answer); errs[i] != nil {
					return
				}
				decided.Add(int64(s.batch))
			}
		})
	}
	cpu, err := p.cpu()
	if err != nil {
		return result{}, err
	}
	began := time.Now()
	close(ready)
	time.Sleep(s.duration)
	n, took := decided.Load(), time.Since(began)
	after, err := p.cpu()
	close(stop)
	wg.Wait()
	if err := errors.Join(append(errs, err)...); err != nil {
		return result{}, err
	}
	return result{float64(n) / took.Seconds(), (after - cpu).Seconds() / float64(n) * 1e6}, nil
}

// checked asks once and looks at every answer.
func (s *settings) checked(ctx context.Context, cc *grpc.ClientConn, batch []byte) error {
	var b []byte
	if err := cc.Invoke(ctx, guber.V1_GetRateLimits_FullMethodName, batch, &b); err != nil {
		return err
	}
	var resp guber.GetRateLimitsResp
	if err := proto.Unmarshal(b, &resp); err != nil {
		return err
	}
	if len(resp.Responses) != s.batch {
		return fmt.Errorf("%d answers to %d requests", len(resp.Responses), s.batch)
	}
	for i, r := range resp.Responses {
		if r.Error != "" || r.Status != guber.Status_UNDER_LIMIT || r.Remaining <= 0 || r.Remaining >= r.Limit {
			return fmt.Errorf("request %d is answered %v", i, r)
		}
	}
	return nil
}
