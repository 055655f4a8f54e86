package table_test

import (
	"testing"

	"github.com/headgate/headgate/limiter/table"
)

func TestAMappedArrayFillsHalfOfItsPagesAtLeast(t *testing.T) {
	for page, want := range map[int]int{4 << 10: 2 << 10, 16 << 10: 8 << 10, 64 << 10: 32 << 10} {
		if got := table.MappedFrom(page); got != want || 2*got < page {
			t.Errorf("pages of %d bytes: arrays are mapped from %d bytes on, want %d", page, got, want)
		}
	}
}

func TestADecisionReadsOneLineOfAShardsHead(t *testing.T) {
	size, hot := table.ShardLayout()
	if size%64 != 0 || hot > 64 {
		t.Errorf("a shard has %d bytes, and what a decision reads ends at %d: want whole lines, and the first", size, hot)
	}
}
