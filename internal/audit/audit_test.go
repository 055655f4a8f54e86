package audit

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func open(t *testing.T, path string) *Log {
	t.Helper()
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() }) //nolint:errcheck // some tests have closed it
	return l
}

func appendTo(t *testing.T, l *Log, r Record) {
	t.Helper()
	if err := l.Append(&r); err != nil {
		t.Fatal(err)
	}
}

func recent(t *testing.T, l *Log, n int) []Record {
	t.Helper()
	records, err := l.Recent(n)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

func TestRecordsAreReadNewestFirstAlsoAfterARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	l := open(t, path)
	at := time.Date(2026, 11, 27, 10, 0, 0, 0, time.UTC)
	for i := range 3 {
		appendTo(t, l, Record{Time: at.Add(time.Duration(i) * time.Second), Action: "mode", Domain: fmt.Sprint("d", i), Reason: "line\nbreak"})
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	got := recent(t, open(t, path), 2)
	if len(got) != 2 || got[0].Domain != "d2" || got[1].Domain != "d1" || !got[0].Time.Equal(at.Add(2*time.Second)) || got[0].Reason != "line\nbreak" {
		t.Errorf("%+v", got)
	}
}

func TestHalfALineOfACrashLosesNoOtherRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	l := open(t, path)
	appendTo(t, l, Record{Domain: "before"})
	l.Close() //nolint:errcheck // a crash would not tell
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"domain":"hal`); err != nil {
		t.Fatal(err)
	}
	f.Close() //nolint:errcheck // as above
	l = open(t, path)
	appendTo(t, l, Record{Domain: "after"})
	got := recent(t, l, 10)
	if len(got) != 2 || got[0].Domain != "after" || got[1].Domain != "before" {
		t.Errorf("%+v", got)
	}
}

func TestTheFilesKeepTheirBoundAndTheNewestRecords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	l := open(t, path)
	reason := strings.Repeat("r", RecordBytesMax/2)
	const n = 3 * FileBytesMax / (RecordBytesMax / 2)
	for i := range n {
		appendTo(t, l, Record{Domain: fmt.Sprint(i), Reason: reason})
	}
	total := int64(0)
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 2 {
		t.Fatal(entries, err)
	}
	for _, e := range entries {
		stat, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		total += stat.Size()
	}
	if total > 2*FileBytesMax {
		t.Errorf("%d bytes", total)
	}
	got := recent(t, l, n)
	if len(got) < n/3 || len(got) > n {
		t.Fatalf("%d records of %d", len(got), n)
	}
	for i, r := range got {
		if r.Domain != fmt.Sprint(n-1-i) {
			t.Fatalf("record %d is of domain %s", i, r.Domain)
		}
	}
}

func TestARecordThatIsTooLargeIsRefused(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "audit"))
	if err := l.Append(&Record{Reason: strings.Repeat("r", RecordBytesMax)}); err == nil || !strings.Contains(err.Error(), fmt.Sprint(RecordBytesMax)) {
		t.Error(err)
	}
	if got := recent(t, l, 10); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}
