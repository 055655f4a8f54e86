package holdings

import (
	"testing"

	"github.com/headgate/headgate/limiter"
)

func TestNamesAreBoundedAndTheLastOneIsKnown(t *testing.T) {
	var n names
	for i := range uint64(3 * namesMax) {
		key, id := limiter.Key{Hi: i}, limiter.LimitID{byte(i)}
		n.put(key, id)
		if n[key] != id || len(n) != int(min(i+1, namesMax)) {
			t.Fatalf("after %d: %v of %d", i+1, n[key], len(n))
		}
		n.put(key, limiter.LimitID{1, 1})
		if n[key] != (limiter.LimitID{1, 1}) || len(n) != int(min(i+1, namesMax)) {
			t.Fatalf("after %d, put twice: %v of %d", i+1, n[key], len(n))
		}
	}
}
