// Package prefetch asks the processor to fetch memory that will be read soon,
// so that what is done until then and the wait for it go on at the same time.
// It never waits, changes nothing and never faults, whatever the address is.
// Where the architecture is neither amd64 nor arm64 it does nothing.
//
// It is not a cache and promises nothing: what is fetched may be gone again.
package prefetch
