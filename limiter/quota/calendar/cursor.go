package calendar

import "math"

// A Cursor keeps the current window of a calendar for one owner. It never goes
// back: a clock that is set back stays in the window that it had reached. The
// zero Cursor is not valid.
type Cursor struct {
	calendar *Calendar
	window   Window
}

// Cursor returns a cursor that has seen no moment yet.
func (c *Calendar) Cursor() Cursor { return Cursor{c, Window{End: math.MinInt64}} }

// At returns the window of t or, if that is earlier, of the latest t that At was
// called with. It allocates nothing.
func (c *Cursor) At(t int64) Window {
	if t >= c.window.End {
		c.advance(t)
	}
	return c.window
}

func (c *Cursor) advance(t int64) { c.window = c.calendar.Window(t) }
