package policy

import (
	"encoding/json"
	"maps"

	"github.com/headgate/headgate/limiter"
)

// SchemaID names the JSON Schema of policies.
const SchemaID = "https://github.com/headgate/headgate/docs/reference/policy.schema.json"

// A schema is a JSON Schema, draft 7: the one that editors know best.
type schema map[string]any

// The places of the schema that others refer to.
const (
	defRule     = "rule"
	defTerm     = "limit"
	defEntry    = "entry"
	defMatcher  = "matcher"
	defAmount   = "amount_every"
	defOverride = "override"

	defGubernator = "gubernator"
)

// Schema returns the JSON Schema of a policy document, indented, made of the
// keys that Parse knows. It accepts every document that Parse accepts, and
// refuses unknown keys, words and types; what only several keys together can get
// wrong is Parse's to say.
func Schema() []byte {
	g := newGrammar()
	root := objectOf(g.document, "domain")
	root["$schema"] = "http://json-schema.org/draft-07/schema#"
	root["$id"] = SchemaID
	root["title"] = "Headgate policy"
	root["description"] = "The limits of one domain."
	rule := objectOf(g.rule)
	maps.Copy(rule["properties"].(schema), objectOf(g.term)["properties"].(schema)) //nolint:forcetypeassert // objectOf made them
	matcher := objectOf(g.matcher)
	matcher["minProperties"], matcher["maxProperties"] = 1, 1
	root["definitions"] = schema{
		defRule: rule, defTerm: objectOf(g.term), defEntry: objectOf(g.entry, "key"), defMatcher: matcher,
		defAmount: objectOf(g.amount, g.amount.names()...), defOverride: objectOf(g.override, "values"),
		defGubernator: objectOf(g.gubernator, "max_limit", "max_duration"),
	}
	return printSchema(root)
}

func printSchema(s schema) []byte {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		panic(err) // maps, texts and numbers are JSON
	}
	return append(text, '\n')
}

// objectOf returns the schema of a mapping that has ks and nothing else.
func objectOf[T any](ks keys[T], required ...string) schema {
	properties := make(schema, len(ks))
	for _, k := range ks {
		form := k.form()
		if form["$ref"] != nil { // draft 7 ignores what stands beside a reference
			form = schema{"allOf": []schema{form}}
		}
		form["description"] = k.doc
		properties[k.name] = form
	}
	s := schema{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

func formFlag() schema { return schema{"type": "boolean"} }

func formWords(words []string) schema { return schema{"enum": words} }

// formScalar is any text.
func formScalar() schema { return schema{"type": []string{"string", "number", "boolean"}} }

// formText is a text of 1 to TextBytesMax bytes: a number or a boolean is taken
// as it is written.
func formText() schema {
	return schema{"type": []string{"string", "number", "boolean"}, "minLength": 1, "maxLength": TextBytesMax}
}

func formUnit() schema {
	return schema{"type": "string", "minLength": 1, "maxLength": UnitBytesMax, "pattern": "^[a-z0-9_.-]+$"}
}

func formName() schema {
	return schema{"type": []string{"string", "number", "boolean"}, "maxLength": NameBytesMax, "pattern": "^[ -~]+$"}
}

// formNumber is a whole number of at least low, whose digits may be grouped.
func formNumber(low uint64) schema {
	return schema{"anyOf": []schema{
		{"type": "integer", "minimum": low, "maximum": uint64(limiter.AmountMax)},
		{"type": "string", "pattern": "^[0-9]+(_[0-9]+)*$"},
	}}
}

// formSpan is a span of time.
func formSpan() schema {
	return schema{"type": "string", "pattern": "^[0-9a-z]*[a-z]$", "examples": []string{"s", "90s", "5min", "1h30m", "day"}}
}

// formLimit is an amount per span of time.
func formLimit() schema {
	return schema{"anyOf": []schema{
		{"type": "string", "pattern": "^[0-9]+(_[0-9]+)*/[0-9a-z]*[a-z]$", "examples": []string{"100/s", "60/min", "1000/90s"}},
		formRef(defAmount),
	}}
}

// formList is a list of one to limit items.
func formList(item schema, limit int) schema {
	return schema{"type": "array", "items": item, "minItems": 1, "maxItems": limit}
}

// formOneOrList is one item or a list of them.
func formOneOrList(item schema, limit int) schema {
	return schema{"anyOf": []schema{item, formList(item, limit)}}
}

func formRef(def string) schema { return schema{"$ref": "#/definitions/" + def} }

// formMatcher is what a condition compares a value with.
func formMatcher() schema {
	return schema{"anyOf": []schema{formText(), formList(formText(), ValuesMax), formRef(defMatcher)}}
}

// formWhen is a mapping of attributes to matchers.
func formWhen() schema {
	return schema{
		"type": "object", "minProperties": 1, "maxProperties": ConditionsMax, "additionalProperties": formMatcher(),
	}
}
