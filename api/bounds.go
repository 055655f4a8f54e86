package api

import (
	"errors"
	"fmt"

	"github.com/headgate/headgate/policy"
)

// BatchChecksMax is how many checks one batch holds at most, whatever is set.
const BatchChecksMax = 1000

// Bounds are what one request may hold. What is beyond them is refused with a
// Fault that names the field, its value and the bound; nothing is charged.
type Bounds struct {
	// MessageBytes bounds one message, in [1 KiB, 64 MiB].
	MessageBytes int
	// Descriptors bounds the descriptors of a request, in [1, policy.DescriptorsMax].
	Descriptors int
	// Entries bounds the entries of all descriptors of a request together, in
	// [1, policy.EntriesMax].
	Entries int
	// KeyBytes bounds a domain and an entry's key, ValueBytes an entry's value;
	// both in [1, MessageBytes].
	KeyBytes, ValueBytes int
	// BatchChecks bounds the checks of a batch, in [1, BatchChecksMax].
	BatchChecks int
}

// DefaultBounds returns 1 MiB a message, 32 descriptors, 256 entries, keys of
// 256 B, values of 4 KiB, and 1,000 checks a batch.
func DefaultBounds() Bounds {
	return Bounds{
		MessageBytes: 1 << 20,
		Descriptors:  policy.DescriptorsMax,
		Entries:      policy.EntriesMax,
		KeyBytes:     256,
		ValueBytes:   4 << 10,
		BatchChecks:  BatchChecksMax,
	}
}

// Validate reports all bounds that are out of their own range.
func (b *Bounds) Validate() error {
	var errs []error
	for _, f := range []struct {
		path         string
		v, low, high int
	}{
		{"message_bytes_max", b.MessageBytes, 1 << 10, 64 << 20},
		{"descriptors_max", b.Descriptors, 1, policy.DescriptorsMax},
		{"entries_max", b.Entries, 1, policy.EntriesMax},
		{"key_bytes_max", b.KeyBytes, 1, b.MessageBytes},
		{"value_bytes_max", b.ValueBytes, 1, b.MessageBytes},
		{"batch_checks_max", b.BatchChecks, 1, BatchChecksMax},
	} {
		if f.v < f.low || f.v > f.high {
			errs = append(errs, fmt.Errorf("api: %s: %d is not in [%d, %d]", f.path, f.v, f.low, f.high))
		}
	}
	return errors.Join(errs...)
}
