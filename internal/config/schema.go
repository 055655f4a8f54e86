package config

import (
	"encoding/json"
	"maps"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// SchemaID names the JSON Schema of the settings file.
const SchemaID = "https://github.com/headgate/headgate/docs/reference/config.schema.json"

// A schema is a JSON Schema, draft 7: the one that editors know best.
type schema map[string]any

// Schema returns the JSON Schema of a settings file, indented, made of the
// structs. It knows keys, types and words, and the bounds of whole numbers; what
// else is wrong, and what several settings together can get wrong, Load says. Load
// takes a number or a boolean in quotes, too; an editor that knows the schema does
// not.
func Schema() []byte {
	c := Default()
	root := schemaOf(reflect.ValueOf(c))
	maps.Copy(root, schema{
		"$schema": "http://json-schema.org/draft-07/schema#", "$id": SchemaID,
		"title": "Headgate settings", "description": "The settings file of headgate serve.",
	})
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic(err) // maps, texts and numbers are JSON
	}
	return append(text, '\n')
}

// schemaOf returns the schema of a component, whose settings are at their
// defaults.
func schemaOf(v reflect.Value) schema {
	properties := schema{}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Type.Kind() == reflect.Struct {
			properties[f.Tag.Get("yaml")] = schemaOf(v.Field(i))
			continue
		}
		s := leafSchema(f.Tag, v.Field(i))
		s["description"] = f.Tag.Get("doc")
		if bound := boundOf(f.Tag, v.Field(i)); bound != "" && v.Field(i).Kind() != reflect.Bool && s["enum"] == nil {
			s["description"] = f.Tag.Get("doc") + " Bound: " + bound + "."
		}
		properties[f.Tag.Get("yaml")] = s
	}
	// null: a component with everything commented out.
	return schema{"type": []string{"object", "null"}, "additionalProperties": false, "properties": properties}
}

// leafSchema returns the schema of one setting.
func leafSchema(tag reflect.StructTag, v reflect.Value) schema {
	field := Field{tag: tag, value: v}
	switch value := v.Interface().(type) {
	case bool:
		return schema{"type": "boolean", "default": value}
	case time.Duration:
		return schema{
			"anyOf": []schema{
				{"type": "string", "pattern": `^\+?([0-9]*\.?[0-9]+(ns|us|µs|ms|s|m|h))+$`},
				{"enum": []any{0, "0"}},
			},
			"default": field.Text(),
		}
	case Bytes:
		low, _ := ParseBytes(tag.Get("min"))
		high, _ := ParseBytes(tag.Get("max"))
		return schema{
			"anyOf": []schema{
				{"type": "string", "pattern": `^ *[0-9]+ *(B|[KMGT]iB|[kMGT]B)? *$`},
				{"type": "integer", "minimum": int64(low), "maximum": int64(high)},
			},
			"default": field.Text(),
		}
	case []string:
		item := schema{"type": []string{"string", "number", "boolean"}}
		if tag.Get("kind") == "pairs" {
			item = schema{"type": "string", "pattern": "^[^=]+="}
		}
		s := schema{"anyOf": []schema{{"type": "array", "items": item}, {"type": "string"}}}
		if len(value) > 0 {
			s["default"] = value
		}
		return s
	case string:
		return textSchema(tag, value)
	default:
		return schema{
			"type": "integer", "minimum": number(tag.Get("min")), "maximum": number(tag.Get("max")), "default": v.Int(),
		}
	}
}

// textSchema returns the schema of a setting that is text. A number or a boolean
// is taken as it is written.
func textSchema(tag reflect.StructTag, value string) schema {
	s := schema{"type": []string{"string", "number", "boolean"}}
	if one := tag.Get("oneof"); one != "" {
		words := []any{}
		for word := range strings.SplitSeq(one, "|") {
			words = append(words, word)
			if n, err := strconv.ParseFloat(word, 64); err == nil {
				words = append(words, n)
			}
		}
		s = schema{"enum": words}
	}
	switch tag.Get("kind") {
	case "addr":
		s = schema{"type": "string", "pattern": ":[0-9]+$"}
	case "addr-or-none":
		s = schema{"type": "string", "pattern": "^$|:[0-9]+$"}
	case "path":
		s = schema{"type": "string", "pattern": "^/"}
	case "header":
		s = schema{"type": "string", "pattern": "^[a-z0-9_.-]*$"}
	}
	if value != "" {
		s["default"] = value
	}
	return s
}

// number returns a bound of whole numbers.
func number(text string) int64 {
	n, _ := strconv.ParseInt(text, 10, 64) // a tag: TestTheSchemaAcceptsWhatIsPrinted sets it
	return n
}
