// Package table is a fixture.
package table

import _ "github.com/headgate/headgate/policy" // want imports "limiter/table may not import policy"
