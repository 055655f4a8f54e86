package config

import (
	"fmt"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Field is one setting: where it is and what its struct tags say of it.
type Field struct {
	Path  string // such as grpc.addr
	Doc   string
	Bound string // what values are right, in words; "" if any is

	tag   reflect.StructTag
	value reflect.Value
}

// Fields returns the settings of c in the order of the structs. Setting one
// changes c.
func Fields(c *Config) []Field { return fieldsOf("", reflect.ValueOf(c).Elem()) }

func fieldsOf(prefix string, v reflect.Value) []Field {
	var fields []Field
	for i := range v.NumField() {
		f := v.Type().Field(i)
		path := prefix + f.Tag.Get("yaml")
		if f.Type.Kind() == reflect.Struct {
			fields = append(fields, fieldsOf(path+".", v.Field(i))...)
			continue
		}
		fields = append(fields, Field{
			Path: path, Doc: f.Tag.Get("doc"), Bound: boundOf(f.Tag, v.Field(i)), tag: f.Tag, value: v.Field(i),
		})
	}
	return fields
}

// Env returns the environment variable of f.
func (f Field) Env() string {
	return "HEADGATE_" + strings.ToUpper(strings.ReplaceAll(f.Path, ".", "_"))
}

// Text returns the value of f; a list is separated by commas.
func (f Field) Text() string {
	switch v := f.value.Interface().(type) {
	case []string:
		return strings.Join(v, ",")
	case time.Duration:
		text := v.String()
		if strings.HasSuffix(text, "m0s") {
			text = strings.TrimSuffix(text, "0s")
		}
		if strings.HasSuffix(text, "h0m") {
			text = strings.TrimSuffix(text, "0m")
		}
		return text
	default:
		return fmt.Sprint(v)
	}
}

// Set changes f to what text says and returns what text should have been, ""
// if it was right. Bounds are Validate's to check.
func (f Field) Set(text string) (want string) {
	switch f.value.Interface().(type) {
	case []string:
		list := []string{}
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				list = append(list, item)
			}
		}
		f.SetList(list)
		return ""
	case string:
		f.value.SetString(text)
		return ""
	}
	n, want := parseNumber(f.value, text)
	if want != "" {
		return want
	}
	if f.value.Kind() == reflect.Bool {
		f.value.SetBool(n != 0)
	} else {
		f.value.SetInt(n)
	}
	return ""
}

// IsList reports whether f is a list.
func (f Field) IsList() bool { return f.value.Kind() == reflect.Slice }

// SetList changes f, which is a list, to list.
func (f Field) SetList(list []string) { f.value.Set(reflect.ValueOf(list)) }

// parseNumber reads text as the type of v; want is what text should have been,
// "" if it was right. A bool is 0 or 1.
func parseNumber(v reflect.Value, text string) (n int64, want string) {
	switch v.Interface().(type) {
	case bool:
		switch text {
		case "true":
			return 1, ""
		case "false":
			return 0, ""
		}
		return 0, "must be true or false"
	case time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return 0, "must be a duration such as 250ms, 90s or 24h"
		}
		return int64(d), ""
	case Bytes:
		b, err := ParseBytes(text)
		if err != nil {
			return 0, "must be a size such as 512, 64KiB or 1GiB"
		}
		return int64(b), ""
	default:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, "must be a whole number"
		}
		return n, ""
	}
}

// boundOf says the bounds of a field in words.
func boundOf(tag reflect.StructTag, v reflect.Value) string {
	if one := tag.Get("oneof"); one != "" {
		return "one of " + strings.ReplaceAll(one, "|", ", ")
	}
	switch tag.Get("kind") {
	case "addr":
		return "host:port, port 0 to 65535"
	case "header":
		return "lower-case letters, digits, -, _ and ."
	case "cidr":
		return "networks such as 10.0.0.0/8, or addresses"
	case "file":
		return "path of a PEM file"
	case "addr-or-none":
		return "host:port, port 0 to 65535, or empty"
	case "path":
		return "begins with /"
	case "dir":
		return "path of a directory"
	case "target":
		return "host:port, or another target of gRPC's"
	case "text":
		return "any text"
	case "pairs":
		return "a list of name=value"
	}
	if tag.Get("min") != "" {
		return tag.Get("min") + " to " + tag.Get("max")
	}
	if v.Kind() == reflect.Bool {
		return "true or false"
	}
	return ""
}

// inBounds reports whether the value of f is what its tags allow.
func (f Field) inBounds() bool {
	if one := f.tag.Get("oneof"); one != "" {
		for choice := range strings.SplitSeq(one, "|") {
			if f.value.String() == choice {
				return true
			}
		}
		return false
	}
	switch f.tag.Get("kind") {
	case "addr":
		return validAddr(f.value.String())
	case "addr-or-none":
		return f.value.String() == "" || validAddr(f.value.String())
	case "path":
		return strings.HasPrefix(f.value.String(), "/")
	case "header":
		return strings.Trim(f.value.String(), "abcdefghijklmnopqrstuvwxyz0123456789-_.") == ""
	}
	if f.tag.Get("kind") == "cidr" {
		list, _ := f.value.Interface().([]string) // the tag is for lists only
		_, err := Prefixes(list)
		return err == nil
	}
	if list, ok := f.value.Interface().([]string); ok && f.tag.Get("kind") == "pairs" {
		return !slices.ContainsFunc(list, func(pair string) bool {
			name, _, ok := strings.Cut(pair, "=")
			return !ok || name == ""
		})
	}
	if f.tag.Get("min") == "" {
		return true
	}
	low, _ := parseNumber(f.value, f.tag.Get("min"))
	high, _ := parseNumber(f.value, f.tag.Get("max"))
	return low <= f.value.Int() && f.value.Int() <= high
}

func validAddr(addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}
