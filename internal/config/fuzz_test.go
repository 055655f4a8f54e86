package config

import "testing"

// Any text is either refused or gives settings that survive printing.
func FuzzFile(f *testing.F) {
	f.Add("grpc:\n  addr: :1\npolicy:\n  paths: [a]\n")
	f.Add("log: {level: debug}\ntable:\n  bytes_max: 3MB\n")
	f.Add("a: &x 1\nb: *x\n")
	f.Add("---\n...\n---\n")
	c := Default()
	f.Add(c.YAML())
	parse := func(text string) (Config, Problems) {
		l := newLoader()
		l.file("file", []byte(text))
		l.validate()
		return l.config, l.problems
	}
	f.Fuzz(func(t *testing.T, text string) {
		want, problems := parse(text)
		if len(problems) > 0 {
			return
		}
		got, problems := parse(want.YAML())
		if len(problems) > 0 || got.YAML() != want.YAML() {
			t.Fatalf("%v\ngot:\n%s\nwant:\n%s", problems, got.YAML(), want.YAML())
		}
	})
}
