package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// JSONProblem says what encoding/json found wrong with a body in the words of its author: the
// member, what it is and what it must be, not how a program keeps it.
func JSONProblem(err error) string {
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		return strings.TrimPrefix(err.Error(), "json: ")
	}
	said := "must be " + jsonNoun(wrong.Type) + ", not " + jsonValue(wrong.Value)
	if field := memberPath(wrong.Field); field != "" {
		return field + ": " + said
	}
	return said
}

// memberPath returns path without the Go types that are embedded on its way: they begin with
// a capital, our members don't.
func memberPath(path string) string {
	names := strings.Split(path, ".")
	names = slices.DeleteFunc(names, func(name string) bool { return name != "" && 'A' <= name[0] && name[0] <= 'Z' })
	return strings.Join(names, ".")
}

// jsonNoun says what JSON t is read from.
func jsonNoun(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a text"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return fmt.Sprintf("a whole number from %d to %d", int64(-1)<<(t.Bits()-1), uint64(1)<<(t.Bits()-1)-1)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return fmt.Sprintf("a whole number from 0 to %d", ^uint64(0)>>(64-t.Bits()))
	case reflect.Slice, reflect.Array:
		return "a list"
	default:
		return "an object"
	}
}

// jsonValue says what v, a word of encoding/json, stands for.
func jsonValue(v string) string {
	switch v {
	case "string":
		return "a text"
	case "bool":
		return "true or false"
	case "array":
		return "a list"
	case "object":
		return "an object"
	case "number":
		return "a number"
	default:
		return strings.TrimPrefix(v, "number ")
	}
}
