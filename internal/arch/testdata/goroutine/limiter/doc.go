// Package limiter is a fixture.
package limiter

func bad() {
	go bad() // want goroutine "limiter is pure and starts no goroutine"
}
