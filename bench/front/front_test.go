package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/headgate/headgate/bench"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAResultIsTheMedianBesideItsAim(t *testing.T) {
	for _, tc := range []struct {
		name   string
		result result
		met    bool
		text   string
	}{
		{
			"above what it should at least be",
			result{unit: " ×", values: []float64{9, 7, 8}, bound: atLeast, aim: 8},
			true,
			"**8 ×** (7 to 9): met",
		},
		{
			"below what it should at least be",
			result{unit: " ×", values: []float64{9, 7, 7.9}, bound: atLeast, aim: 8},
			false,
			"**7.9 ×** (7 to 9): **not met**",
		},
		{
			"an even number of rounds",
			result{values: []float64{4, 1, 2, 8}, bound: atMost, aim: 3},
			true,
			"**3** (1 to 8): met",
		},
		{
			"above what it should at most be",
			result{values: []float64{3.1}, bound: atMost, aim: 3, detail: "why"},
			false,
			"**3.1**; why: **not met**",
		},
		{"without an aim", result{values: []float64{3}}, true, "**3**"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.result.met(); got != tc.met {
				t.Errorf("met = %v", got)
			}
			if got := tc.result.text(); got != tc.text {
				t.Errorf("text %q, want %q", got, tc.text)
			}
		})
	}
}

func TestARatioIsOfTheRoundsNotOfTheMedians(t *testing.T) {
	at := func(k float64) *bench.Report { return &bench.Report{DecisionsPerSecond: k * 1e3} }
	r := throughput(2).of([]round{{at(10), at(1)}, {at(2), at(2)}, {at(8), at(4)}})
	if m, low, high := r.median(); m != 2 || low != 1 || high != 10 || r.detail != "8 and 2 k/s" {
		t.Errorf("%v (%v to %v), %s", m, low, high, r.detail)
	}
}

func TestCasesAreChosenByName(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range cases() {
		if seen[c.name] || c.what == "" {
			t.Errorf("case %q, %q", c.name, c.what)
		}
		seen[c.name] = true
	}
	got, err := choose(cases(), []string{"tls", "open"})
	if err != nil || len(got) != 2 || got[0].name != "tls" || got[1].name != "open" {
		t.Errorf("chose %v, %v", got, err)
	}
}

func TestMisuseIsSaid(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"an unknown case", []string{"nothing"}, `no case "nothing"`},
		{"an unknown flag", []string{"-nothing"}, "not defined"},
		{"no round", []string{"-rounds", "0"}, "at least 1, not 0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := run(t.Context(), tc.args, io.Discard, io.Discard)
			if !errors.Is(err, errMisuse) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v", err)
			}
		})
	}
	if err := run(t.Context(), []string{"-h"}, io.Discard, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("help: %v", err)
	}
	err := run(t.Context(), []string{"-headgate", filepath.Join(t.TempDir(), "none")}, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "make bench-front") {
		t.Errorf("without binaries: %v", err)
	}
	if err := allowFiles(1 << 40); err == nil || !strings.Contains(err.Error(), "ulimit -Hn") {
		t.Errorf("too many files: %v", err)
	}
}

// BenchmarkEveryCase measures each case once and briefly, with the real binaries:
// it shows that none has rotted, and its figures mean nothing.
func BenchmarkEveryCase(b *testing.B) {
	dir := b.TempDir()
	for name, pkg := range map[string]string{"headgate": "../../cmd/headgate", "hello": "../hello", "stock": "../../internal/stock"} {
		out, err := exec.CommandContext(b.Context(), "go", "build", "-o", filepath.Join(dir, name), pkg).CombinedOutput()
		if err != nil {
			b.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	for _, c := range cases() {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				var table bytes.Buffer
				err := run(context.WithoutCancel(b.Context()), []string{
					"-headgate", filepath.Join(dir, "headgate"), "-hello", filepath.Join(dir, "hello"), "-stock", filepath.Join(dir, "stock"),
					"-policies", "../../deploy/examples/bench.yaml,edge.yaml", "-quotas", "quota.yaml",
					"-rounds", "1", "-warmup", "100ms", "-duration", "200ms", "-idle", "50", "-settle", "300ms", c.name,
				}, &table, io.Discard)
				if err != nil || !strings.Contains(table.String(), "| "+c.name+" |") {
					b.Fatalf("%v\n%s", err, table.String())
				}
				if strings.Contains(table.String(), "errors map") {
					b.Errorf("had errors:\n%s", table.String())
				}
			}
		})
	}
}
