package policy

// A key is one key that a mapping of a policy may have. The parser reads
// documents by lists of keys and the JSON Schema is made of the same lists, so
// that neither knows a key that the other does not.
type key[T any] struct {
	name string
	doc  string        // what it means in a sentence or two, for editors
	form func() schema // what its value looks like
	read func(to T, f *field)
}

// keys are those of one mapping, in the order in which messages list them.
type keys[T any] []key[T]

// find returns the key of that name, or nil.
func (ks keys[T]) find(name string) *key[T] {
	for i := range ks {
		if ks[i].name == name {
			return &ks[i]
		}
	}
	return nil
}

// names returns the names of all keys.
func (ks keys[T]) names() []string {
	names := make([]string, len(ks))
	for i := range ks {
		names[i] = ks[i].name
	}
	return names
}

// A reading is what collects the fields of a mapping: it has a reader.
type reading interface{ own() *reader }

func (r *reader) own() *reader { return r }

// flagKey returns a key whose value is true or false.
func flagKey[T reading](name, doc string, set func(to T, b bool)) key[T] {
	return key[T]{name, doc, formFlag, func(to T, f *field) { set(to, to.own().boolean(&f.node)) }}
}

// wordKey returns a key whose value is one of words. set gets the word's index,
// which is −1 if it is none of them.
func wordKey[T reading](name, doc string, words []string, set func(to T, i int)) key[T] {
	return key[T]{
		name, doc, func() schema { return formWords(words) },
		func(to T, f *field) { set(to, to.own().choice(&f.node, words...)) },
	}
}

// textKey returns a key whose value is a text.
func textKey[T reading](name, doc string, set func(to T, s string)) key[T] {
	return key[T]{name, doc, formText, func(to T, f *field) {
		s, _ := to.own().text(&f.node)
		set(to, s)
	}}
}

// A grammar is all keys that policies have. It is made once for each Parse: a
// policy has many rules.
type grammar struct {
	document keys[*documentReader]
	rule     keys[*ruleReader]
	term     keys[*termReader]
	entry    keys[*entryReader]
	matcher  keys[*matcherReader]
	amount   keys[*amountReader]
	override keys[*overrideReader]

	gubernator keys[*gubernatorReader]

	zones map[string]bool // time zones: whether nobody knows the name

	ruleNames []string // of rule and term, which stand side by side
	termNames []string
}

func newGrammar() *grammar {
	g := &grammar{
		document: documentKeys(), rule: ruleKeys(), term: termKeys(), entry: entryKeys(),
		matcher: matcherKeys(), amount: amountKeys(), override: overrideKeys(),
		gubernator: gubernatorKeys(), zones: map[string]bool{},
	}
	g.termNames = g.term.names()
	g.ruleNames = append(g.rule.names(), g.termNames...)
	return g
}
