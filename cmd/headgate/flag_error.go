package main

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// explainFlag says what a flag must be, instead of which function could not read it.
func explainFlag(_ *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return err
	}
	var must string
	switch invalid.GetFlag().Value.Type() {
	case "int", "int64":
		must = fmt.Sprintf("a whole number from %d to %d", math.MinInt64, math.MaxInt64)
	case "uint64":
		must = fmt.Sprintf("a whole number from 0 to %d", uint64(math.MaxUint64))
	case "float64":
		must = "a number"
	case "bool":
		must = "true or false"
	case "duration":
		must = "a duration such as 90s or 1h30m"
	default:
		return err
	}
	return errors.New(strings.TrimSuffix(err.Error(), invalid.Unwrap().Error()) + "must be " + must)
}
