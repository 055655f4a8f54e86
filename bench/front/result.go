package main

import (
	"fmt"
	"slices"

	"github.com/headgate/headgate/bench"
)

// A bound says on which side of its aim a figure should be.
type bound int

const (
	noAim bound = iota
	atLeast
	atMost
)

// A result is one figure of a case, a value a round.
type result struct {
	name, unit string
	values     []float64
	bound      bound
	aim        float64
	detail     string // what a ratio is made of
}

// median returns the median of the values, with their range.
func (r *result) median() (median, low, high float64) {
	v := slices.Sorted(slices.Values(r.values))
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2, v[0], v[n-1]
}

// met reports whether the median is where it should be.
func (r *result) met() bool {
	m, _, _ := r.median()
	switch r.bound {
	case atLeast:
		return m >= r.aim
	case atMost:
		return m <= r.aim
	default:
		return true
	}
}

func (r *result) aimText() string {
	switch r.bound {
	case atLeast:
		return fmt.Sprintf("%s ≥ %.3g%s", r.name, r.aim, r.unit)
	case atMost:
		return fmt.Sprintf("%s ≤ %.3g%s", r.name, r.aim, r.unit)
	default:
		return r.name
	}
}

func (r *result) text() string {
	m, low, high := r.median()
	text := fmt.Sprintf("**%.3g%s**", m, r.unit)
	if len(r.values) > 1 {
		text += fmt.Sprintf(" (%.3g to %.3g)", low, high)
	}
	if r.detail != "" {
		text += "; " + r.detail
	}
	switch {
	case r.bound == noAim:
		return text
	case r.met():
		return text + ": met"
	default:
		return text + ": **not met**"
	}
}

// A round is a pair of measurements, right after one another.
type round [2]*bench.Report

// A figure is one number of a report, and what the ratio of two should be.
type figure struct {
	name, unit string
	bound      bound
	aim        float64
	value      func(*bench.Report) float64
}

func throughput(aim float64) figure {
	return figure{"throughput", "k/s", atLeast, aim, func(r *bench.Report) float64 { return r.DecisionsPerSecond / 1e3 }}
}

func serverCPU(aim float64) figure {
	return figure{"server CPU", "s/M", atMost, aim, func(r *bench.Report) float64 { return r.Server.CPUPerMillion }}
}

// bothCPU is what the two share a machine for: where nothing else does, throughput goes
// by it.
func bothCPU(aim float64) figure {
	return figure{"CPU, server and generator", "s/M", atMost, aim, func(r *bench.Report) float64 {
		return r.Server.CPUPerMillion + r.ClientCPUPerMillion
	}}
}

func latency50(aim float64) figure {
	return figure{"p50", "ms", atMost, aim, func(r *bench.Report) float64 { return float64(r.LatencyNanoseconds.P50) / 1e6 }}
}

func latency99(aim float64) figure {
	return figure{"p99", "ms", atMost, aim, func(r *bench.Report) float64 { return float64(r.LatencyNanoseconds.P99) / 1e6 }}
}

// of returns the ratios of the rounds.
func (f figure) of(rounds []round) result {
	r := result{name: f.name, unit: " ×", bound: f.bound, aim: f.aim}
	var sides [2]result
	for _, round := range rounds {
		a, b := f.value(round[0]), f.value(round[1])
		sides[0].values, sides[1].values = append(sides[0].values, a), append(sides[1].values, b)
		r.values = append(r.values, a/b)
	}
	a, _, _ := sides[0].median()
	b, _, _ := sides[1].median()
	r.detail = fmt.Sprintf("%.3g and %.3g %s", a, b, f.unit)
	return r
}
