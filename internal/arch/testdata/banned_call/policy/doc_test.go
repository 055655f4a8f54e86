package policy

import "time"

var testsMay = time.Now()
