// Package calendar says in which window of a quota a moment is: hours, days,
// weeks, months, quarters and years of a time zone, and spans of elapsed time.
//
// It is arithmetic over a [limiter.Schedule] and the rules of a time zone that
// the caller gives it. It is not a clock, reads no file and counts nothing.
//
// The main type is [Calendar], which is immutable and may be shared. A [Cursor]
// keeps the current window of one owner, so that a decision compares two numbers.
//
// The rule for clocks that are set: the clock on the wall is read as the latest
// time that it has shown. So a window begins at the first moment at which its
// beginning has been reached: after a gap at its end, and of a time that comes
// twice at the first. A clock that is set back never reopens a window, and a day
// that a zone skipped has no window. Hours are the exception: an hour that comes
// twice is two windows.
//
// Errors: [New] reports every problem of a schedule at once; nothing else fails.
package calendar
