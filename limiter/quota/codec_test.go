package quota

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"github.com/headgate/headgate/limiter"
)

var (
	key   = limiter.Key{Hi: 0x0123456789abcdef, Lo: 0xfedcba9876543210}
	month = Window{Start: 1_793_487_600, End: 1_796_079_600}
	owner = Holder{Partition: 18, Tenure: 300, Life: 2}
)

// commands are one of each operation.
func commands() []Command {
	about := Command{Key: key, Window: month, Holder: owner, Version: 7, Limit: 10_000}
	with := func(op Op, change func(c *Command)) Command {
		c := about
		c.Op = op
		change(&c)
		return c
	}
	return []Command{
		with(OpEnsure, func(c *Command) { c.Floor, c.Target, c.Spent = 1, 100, 3 }),
		with(OpReturn, func(c *Command) { c.Total, c.Spent = 128, 2 }),
		with(OpClose, func(c *Command) { c.Spent = 5 }),
		with(OpDebt, func(c *Command) { c.Total, c.Cleared, c.MaxDebt = 9, 4, 1000 }),
		with(OpAdjust, func(c *Command) { c.Correction, c.Waived, c.Revision, c.Holder = -3, 20, 6, Holder{} }),
		{Op: OpFence, Holder: owner},
		{Op: OpFreeze, Window: month},
		exactly(OpSpend, func(c *Command) { c.Cost = 9 }),
		exactly(OpHold, func(c *Command) { c.Cost, c.Until = 9, 300 }),
		exactly(OpSettle, func(c *Command) { c.Cost, c.MaxDebt, c.Credit = 9, 4, true }),
		exactly(OpExtend, func(c *Command) { c.Until = 300 }),
		exactly(OpConclude, func(c *Command) { c.Cost, c.Round = 9, 300 }),
		exactly(OpPropose, func(c *Command) { c.Cost = 9 }),
		exactly(OpJoin, func(c *Command) { c.Cost, c.Round = 9, 5<<roundBits }),
	}
}

// exactly returns a command of exact mode.
func exactly(op Op, change func(c *Command)) Command {
	c := Command{Op: op, Key: key, Window: month, Version: 7, Limit: 10_000, Request: limiter.Key{Hi: 1, Lo: 2}}
	change(&c)
	return c
}

// TestFormatsAreStable holds what logs and ledgers have on disk.
func TestFormatsAreStable(t *testing.T) {
	head := "\x01\x23\x45\x67\x89\xab\xcd\xef\xfe\xdc\xba\x98\x76\x54\x32\x10" + // key
		"\xf0\xe5\x99\xd7\x06" + "\x80\x9a\x9e\x01\x00" // window
	policy := "\x07" + "\x90\x4e"
	holder := "\x12" + "\xac\x02" + "\x02"
	request := "\x00\x00\x00\x00\x00\x00\x00\x01" + "\x00\x00\x00\x00\x00\x00\x00\x02"
	want := []string{
		"\x01" + head + policy + holder + "\x01" + "\x64" + "\x03",
		"\x02" + head + policy + holder + "\x80\x01" + "\x02",
		"\x03" + head + policy + holder + "\x05",
		"\x04" + head + policy + holder + "\x09\x04\xe8\x07",
		"\x05" + head + policy + "\x05\x14\x06",
		"\x06" + holder,
		"\x07" + "\xf0\xe5\x99\xd7\x06" + "\x80\x9a\x9e\x01\x00",
		"\x10" + head + policy + request + "\x09",
		"\x11" + head + policy + request + "\x09\xac\x02",
		"\x12" + head + policy + request + "\x09\x04\x01",
		"\x13" + head + policy + request + "\xac\x02",
		"\x14" + head + policy + request + "\x09\xac\x02",
		"\x15" + head + policy + request + "\x09",
		"\x16" + head + policy + request + "\x09\x80\x80\xc0\x02",
	}
	all := commands()
	for i := range all {
		if got := string(all[i].AppendTo(nil)); got != want[i] {
			t.Errorf("%v:\n got %q\nwant %q", all[i].Op, got, want[i])
		}
	}
	batch := Batch{At: 1_793_487_600_123, Commands: all[5:6]}
	if got, want := string(batch.AppendTo(nil)), "\x02"+"\xfb\xf3\xc3\xa1\x99\x34"+"\x00"+"\x01"+want[5]; got != want {
		t.Errorf("batch:\n got %q\nwant %q", got, want)
	}
	batch = Batch{At: 300, Ahead: 400}
	if got, want := string(batch.AppendTo(nil)), "\x02\xac\x02\x90\x03\x00"; got != want {
		t.Errorf("batch of a clock that is ahead:\n got %q\nwant %q", got, want)
	}
	p := Pool{
		Version: 7, Limit: 10_000, Correction: 5, Waived: 7, Revision: 1, Peak: 10_012, Changed: 300,
		Past:   Past{Outstanding: 3, Stranded: 1, Debt: 2},
		Exact:  Exact{Charged: 6, Owed: 5},
		Shares: []Share{{Holder: owner, Granted: 100, Returned: 10, Debt: 4, Cleared: 1, Closed: true}},
	}
	if got, want := string(p.AppendTo(nil)), "\x02\x07\x90\x4e\x0a\x07\x01\x9c\x4e\xac\x02\x03\x01\x02\x06\x05\x01"+holder+"\x64\x0a\x04\x01\x00"; got != want {
		t.Errorf("pool:\n got %q\nwant %q", got, want)
	}
	if got, want := string((&Group{time: 300, frozen: 2}).AppendHead(nil)), "\x01\xac\x02\x02"; got != want {
		t.Errorf("group:\n got %q\nwant %q", got, want)
	}
	if got, want := string((&Group{time: 300, ahead: 400, frozen: 2}).AppendHead(nil)), "\x02\xac\x02\x02\x90\x03"; got != want {
		t.Errorf("group whose leader's clock is ahead:\n got %q\nwant %q", got, want)
	}
	if got, want := string(Result{Exhausted, 1, 2, 3, 4, 5, 6, 7, 8, 9, true}.AppendTo(nil)), "\x02\x01\x02\x03\x04\x05\x06\x07\x08\x13"; got != want {
		t.Errorf("result:\n got %q\nwant %q", got, want)
	}
	q := Request{Op: OpHold, Cost: 1, Charged: 2, Owed: 3, Changed: 4, Until: 300, Settled: true, Final: 5}
	if got, want := string(q.AppendTo(nil)), "\x01\x11\x01\x02\x03\x04\xac\x02\x01\x05"; got != want {
		t.Errorf("request:\n got %q\nwant %q", got, want)
	}
	q = Request{Op: OpPropose, Cost: 1, Charged: 1, Changed: 4, Sure: true, Round: 10}
	if got, want := string(q.AppendTo(nil)), "\x01\x15\x01\x01\x00\x04\x00\xa4\x01\x00"; got != want {
		t.Errorf("request that is sure:\n got %q\nwant %q", got, want)
	}
	h := Holding{known: 9, returned: 1, used: 2, held: 3, debt: 4, cleared: 1, free: 300, seen: 5_000_000, recent: 1, life: 6, state: asking | warm}
	if got, want := string(h.AppendTo(nil, 8_000_000)), "\x01\x09\x01\x02\x03\x04\x01\xac\x02\x06\xc0\x11\x03\x80\x80\x80\xfc\x03"; got != want {
		t.Errorf("holding:\n got %q\nwant %q", got, want)
	}
}

// TestTheFirstFormatIsStillRead holds that what the first version wrote means what it
// did: an entry that is taken for another one, or is left out, admits twice.
func TestTheFirstFormatIsStillRead(t *testing.T) {
	head := "\x01\x23\x45\x67\x89\xab\xcd\xef\xfe\xdc\xba\x98\x76\x54\x32\x10" + // key
		"\xf0\xe5\x99\xd7\x06" + "\x80\x9a\x9e\x01\x00" // window
	policy := "\x07" + "\x90\x4e"
	holder := "\x12" + "\xac\x02" + "\x02"
	entry := "\x01" + "\xac\x02" + "\x04" +
		"\x01" + head + policy + holder + "\x01" + "\x64" +
		"\x02" + head + policy + holder + "\x80\x01" +
		"\x03" + head + policy + holder + "\x05" +
		"\x05" + head + policy + "\x05\x06"
	all := commands()
	all[0].Spent, all[1].Spent, all[4].Waived = 0, 0, 0
	want := Batch{At: 300, Commands: []Command{all[0], all[1], all[2], all[4]}}
	var b Batch
	if err := DecodeBatch([]byte(entry), &b); err != nil || !reflect.DeepEqual(b, want) {
		t.Errorf("entry: %v\n got %+v\nwant %+v", err, b, want)
	}
	open := "\x12" + "\xad\x02" + "\x02"
	record := "\x01\x07\x90\x4e\x0a\x01\x95\x4e\xac\x02\x03\x02\x06\x05\x02" + holder + "\x64\x0a\x04\x01\x01" + open + "\x09\x01\x00\x00\x00"
	next := owner
	next.Tenure++
	pool := Pool{
		Version: 7, Limit: 10_000, Correction: 5, Revision: 1, Peak: 10_005, Changed: 300,
		Past:  Past{Outstanding: 3, Debt: 2},
		Exact: Exact{Charged: 6, Owed: 5},
		Shares: []Share{
			{Holder: owner, Granted: 100, Returned: 10, Debt: 4, Cleared: 1, Closed: true},
			{Holder: next, Granted: 9, Returned: 1},
		},
	}
	var p Pool
	if err := DecodePool([]byte(record), &p); err != nil || !reflect.DeepEqual(p, pool) {
		t.Errorf("pool: %v\n got %+v\nwant %+v", err, p, pool)
	}
}

func TestBatchRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sent := Batch{
			At:       rapid.Int64Range(0, 500*TimeMax).Draw(t, "at"),
			Ahead:    rapid.Int64Range(0, 500*TimeMax).Draw(t, "ahead"),
			Commands: rapid.SliceOfN(rapid.Custom(drawCommand), 0, 5).Draw(t, "commands"),
		}
		got := Batch{Commands: make([]Command, 3)}
		if err := DecodeBatch(sent.AppendTo(nil), &got); err != nil {
			t.Fatal(err)
		}
		if got.At != sent.At || got.Ahead != sent.Ahead || !bytes.Equal(got.AppendTo(nil), sent.AppendTo(nil)) || len(got.Commands) != len(sent.Commands) {
			t.Fatalf("sent %+v, got %+v", sent, got)
		}
		for i := range sent.Commands {
			if got.Commands[i] != sent.Commands[i] {
				t.Fatalf("sent %+v, got %+v", sent.Commands[i], got.Commands[i])
			}
		}
	})
}

func operations() []Op {
	return []Op{OpEnsure, OpReturn, OpClose, OpDebt, OpAdjust, OpFence, OpFreeze, OpSpend, OpHold, OpSettle, OpExtend, OpConclude, OpPropose, OpJoin}
}

func drawCommand(t *rapid.T) Command {
	units := rapid.Uint64Range(0, TotalMax)
	amount := rapid.Uint64Range(0, limiter.AmountMax)
	holder := Holder{
		Partition: limiter.Partition(rapid.IntRange(0, limiter.PartitionCount-1).Draw(t, "partition")),
		Tenure:    rapid.Uint64Range(1, TotalMax).Draw(t, "tenure"),
		Life:      rapid.Uint32().Draw(t, "life"),
	}
	start := rapid.Int64Range(0, TimeMax-1).Draw(t, "start")
	window := Window{start, rapid.Int64Range(start+1, TimeMax).Draw(t, "end"), rapid.Uint8Range(0, RollingMax).Draw(t, "rolling")}
	c := Command{Op: rapid.SampledFrom(operations()).Draw(t, "op")}
	if c.Op == OpFence {
		c.Holder = holder
		return c
	}
	c.Window = window
	if c.Op == OpFreeze {
		return c
	}
	c.Key = limiter.Key{Hi: rapid.Uint64().Draw(t, "hi"), Lo: rapid.Uint64().Draw(t, "lo")}
	c.Version, c.Limit = units.Draw(t, "version"), amount.Draw(t, "limit")
	if c.Op != OpAdjust && !c.Op.exact() {
		c.Holder = holder
	}
	if c.Op.exact() {
		c.Request = limiter.Key{Hi: rapid.Uint64().Draw(t, "request")}
	}
	until := rapid.Int64Range(0, 1000*TimeMax)
	switch c.Op {
	case OpEnsure:
		c.Floor, c.Target, c.Spent = units.Draw(t, "floor"), units.Draw(t, "target"), units.Draw(t, "spent")
	case OpReturn:
		c.Total, c.Spent = units.Draw(t, "total"), units.Draw(t, "spent")
	case OpClose:
		c.Spent = units.Draw(t, "spent")
	case OpDebt:
		c.Total, c.MaxDebt = units.Draw(t, "total"), amount.Draw(t, "max debt")
		c.Cleared = rapid.Uint64Range(0, c.Total).Draw(t, "cleared")
	case OpAdjust:
		c.Correction = rapid.Int64Range(-limiter.AmountMax, limiter.AmountMax).Draw(t, "correction")
		c.Waived = rapid.Uint64Range(0, limiter.AmountMax).Draw(t, "waived")
		c.Revision = units.Draw(t, "revision")
	case OpSpend, OpPropose:
		c.Cost = amount.Draw(t, "cost")
	case OpHold:
		c.Cost, c.Until = amount.Draw(t, "cost"), until.Draw(t, "until")
	case OpSettle:
		c.Cost, c.MaxDebt, c.Credit = amount.Draw(t, "cost"), amount.Draw(t, "max debt"), rapid.Bool().Draw(t, "credit")
	case OpExtend:
		c.Until = until.Draw(t, "until")
	case OpConclude, OpJoin:
		c.Cost, c.Round = amount.Draw(t, "cost"), rapid.Uint64Range(0, roundMax).Draw(t, "round")
	default:
	}
	return c
}

func TestDecodeBatchRefuses(t *testing.T) {
	entry := func(change func(b *Batch)) []byte {
		b := Batch{At: 1, Commands: commands()[:1]}
		change(&b)
		return b.AppendTo(nil)
	}
	whole := entry(func(*Batch) {})
	tests := []struct {
		name  string
		entry []byte
		want  error
		text  string
	}{
		{"nothing", nil, ErrMalformed, "quota: malformed: version is missing"},
		{"a newer format", append([]byte{3}, whole[1:]...), ErrVersion, "quota: unknown version: entry has version 3, known is 2"},
		{"a clock beyond time", (&Batch{At: 1000 * TimeMax, Ahead: 1}).AppendTo(nil), ErrMalformed, "quota: malformed: ahead=1: must be at most 0"},
		{"an unknown operation", []byte{2, 1, 0, 1, 99}, ErrMalformed, "command 0: quota: malformed: op=99: must be in [1, 7] or [16, 22]"},
		{"too many commands", []byte{1, 1, 0x81, 8}, ErrMalformed, "quota: malformed: count=1025: must be at most 1024"},
		{"too many bytes", make([]byte, BatchBytesMax+1), ErrMalformed, "quota: malformed: entry of 262145 bytes: must be at most 262144"},
		{"bytes after the last command", append(bytes.Clone(whole), 0), ErrMalformed, "quota: malformed: 1 bytes too many"},
		{"a padded varint", []byte{1, 0x81, 0}, ErrMalformed, "quota: malformed: at is not a varint"},
		{"a tenure of 0", entry(func(b *Batch) { b.Commands[0].Holder.Tenure = 0 }), ErrMalformed, "command 0: quota: malformed: tenure=0: must be at least 1"},
		{"a partition that is none", entry(func(b *Batch) { b.Commands[0].Holder.Partition = 4096 }), ErrMalformed, "command 0: quota: malformed: partition=4096: must be at most 4095"},
		{"an amount too large", entry(func(b *Batch) { b.Commands[0].Limit = limiter.AmountMax + 1 }), ErrMalformed, "command 0: quota: malformed: limit=36028797018963969: must be at most 36028797018963968"},
		{"an empty window", entry(func(b *Batch) { b.Commands[0].Window.End = month.Start }), ErrMalformed, "command 0: quota: malformed: window [1793487600, 1793487600): must not be empty, and end by 253402300799"},
		{"a window beyond time", entry(func(b *Batch) { b.Commands[0].Window.End = TimeMax + 1 }), ErrMalformed, "command 0: quota: malformed: window [1793487600, 253402300800): must not be empty, and end by 253402300799"},
		{"more cleared than owed", entry(func(b *Batch) {
			b.Commands[0] = Command{Op: OpDebt, Window: month, Holder: owner, Total: 1, Cleared: 2}
		}), ErrMalformed, "command 0: quota: malformed: cleared=2: must be at most 1"},
		{"a correction too large", entry(func(b *Batch) {
			b.Commands[0] = Command{Op: OpAdjust, Window: month, Correction: -limiter.AmountMax - 1}
		}), ErrMalformed, "command 0: quota: malformed: correction=-36028797018963969: must be within ±36028797018963968"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := Batch{At: 9, Commands: commands()}
			err := DecodeBatch(tt.entry, &b)
			if !errors.Is(err, tt.want) || err.Error() != tt.text {
				t.Errorf("got %v, want %s", err, tt.text)
			}
			if b.At != 0 || len(b.Commands) != 0 {
				t.Errorf("left %+v behind", b)
			}
		})
	}
	for n := range whole {
		if err := DecodeBatch(whole[:n], &Batch{}); err == nil {
			t.Errorf("the first %d of %d bytes were accepted", n, len(whole))
		}
	}
}

func TestDecodePoolRefusesWhatNoPoolIs(t *testing.T) {
	share := func(tenure, granted uint64) Share {
		return Share{Holder: Holder{Tenure: tenure}, Granted: granted}
	}
	tests := []struct {
		name string
		pool Pool
		text string
	}{
		{"more outstanding than was ever in force", Pool{Peak: 9, Shares: []Share{share(1, 5), share(2, 5)}}, "quota: malformed: outstanding=10: must be at most the peak, 9"},
		{"a share beyond the peak", Pool{Peak: 9, Shares: []Share{share(1, 10)}}, "quota: malformed: outstanding=10: must be at most the peak, 9"},
		{"a past beyond the peak", Pool{Peak: 9, Past: Past{Outstanding: 10}}, "quota: malformed: past outstanding=10: must be at most 9"},
		{"shares out of order", Pool{Peak: 9, Shares: []Share{share(2, 1), share(1, 1)}}, "quota: malformed: share 1: must be of a later holder than the one before"},
		{"one holder twice", Pool{Peak: 9, Shares: []Share{share(1, 1), share(1, 1)}}, "quota: malformed: share 1: must be of a later holder than the one before"},
		{"too many shares", Pool{Shares: []Share{share(1, 0), share(2, 0), share(3, 0), share(4, 0), share(5, 0)}}, "quota: malformed: shares=5: must be at most 4"},
		{"more owed than anything", Pool{Shares: []Share{{Holder: owner, Debt: limiter.AmountMax + 1}}}, "quota: malformed: debt=36028797018963969: must be at most 36028797018963968"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := Pool{Limit: 3, Shares: make([]Share, 1)}
			err := DecodePool(tt.pool.AppendTo(nil), &p)
			if !errors.Is(err, ErrMalformed) || err.Error() != tt.text {
				t.Errorf("got %v, want %s", err, tt.text)
			}
			if !reflect.DeepEqual(p, Pool{}) {
				t.Errorf("left %+v behind", p)
			}
		})
	}
}

// TestWhatIsHeldIsSmall holds the sizes that many millions of counters are planned with.
func TestWhatIsHeldIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(Holding{}); n != 80 {
		t.Errorf("a Holding has %d bytes, want 80", n)
	}
	p := Pool{Version: 12, Limit: 10_000, Peak: 10_000, Changed: 1_793_487_600_123, Shares: []Share{{Holder: owner, Granted: 5_000}}}
	if n := len(p.AppendTo(nil)); n != 31 {
		t.Errorf("the record of a pool with one holder has %d bytes, want 31", n)
	}
	longest := 0
	for _, op := range operations() {
		c := Command{
			Op: op, Key: key, Window: Window{TimeMax - 1, TimeMax, RollingMax}, Holder: Holder{limiter.PartitionCount - 1, TotalMax, 1<<32 - 1},
			Version: TotalMax, Limit: limiter.AmountMax, Floor: TotalMax, Target: TotalMax, Total: TotalMax, Cleared: TotalMax,
			MaxDebt: limiter.AmountMax, Spent: TotalMax, Correction: -limiter.AmountMax, Waived: limiter.AmountMax, Revision: TotalMax,
			Request: key, Cost: limiter.CostMax, Until: 1000 * TimeMax, Credit: true,
		}
		longest = max(longest, len(c.AppendTo(nil)))
	}
	if longest > CommandBytesMax {
		t.Errorf("a command of %d bytes: CommandBytesMax is %d", longest, CommandBytesMax)
	}
	if n := CommandsMax*CommandBytesMax + 32; n > BatchBytesMax {
		t.Errorf("an entry of %d bytes: BatchBytesMax is %d", n, BatchBytesMax)
	}
}

func TestNamesAreNames(t *testing.T) {
	for _, op := range operations() {
		if op.String() == "unknown" {
			t.Errorf("operation %d has no name", op)
		}
	}
	for c := OK; c < codeEnd; c++ {
		if s := c.String(); s == "none" || s == "invalid" || strings.ToLower(s) != s {
			t.Errorf("code %d is named %q", c, s)
		}
	}
	if Op(0).String() != "unknown" || codeEnd.String() != "invalid" {
		t.Error("what is none has a name")
	}
}
