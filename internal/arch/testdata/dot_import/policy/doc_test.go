package policy

import . "time"

var testsMay = Now()
