package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestATableWithAWrongBitEndsTheNodeBeforeItServes flips a bit of a table of a real
// store: the database reads it when it opens, and what it finds ends its use of the disk.
func TestATableWithAWrongBitEndsTheNodeBeforeItServes(t *testing.T) {
	v := newVictim(t, killPolicy)
	for range 2 { // what was in the log when it starts becomes a table
		v.start()
		client, closeClient := v.client()
		if _, err := client.Check(t.Context(), killRequest("much", 5)); err != nil {
			t.Fatal(err)
		}
		closeClient()
		v.end(os.Interrupt)
	}
	tables, err := filepath.Glob(filepath.Join(v.dir, "data/quotas/store/db/*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("no table: %v", err)
	}
	name := slices.Max(tables)
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/8] ^= 0x10 // within its blocks of records
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	v.cmd = v.command()
	out, err := v.cmd.CombinedOutput()
	v.cmd = nil
	if err == nil {
		t.Error("it ended as if all was well")
	}
	for _, want := range []string{"is damaged", filepath.Base(name), "headgate restore"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
}
