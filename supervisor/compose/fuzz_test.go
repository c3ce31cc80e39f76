package compose

import (
	"bytes"
	"testing"
	"testing/fstest"
)

// FuzzParse: whatever the file and its .env contain, Parse returns, every
// problem has a place inside of its file, and what is taken has a hash.
func FuzzParse(f *testing.F) {
	for _, dir := range []string{"good", "bad"} {
		for _, file := range archives(f, dir) {
			data, opts := archive(f, file)
			dotenv := []byte(nil)
			if e := opts.FS.(fstest.MapFS)["srv/acme/.env"]; e != nil {
				dotenv = e.Data
			}
			f.Add(data, dotenv)
		}
	}
	f.Fuzz(func(t *testing.T, data, dotenv []byte) {
		files := fstest.MapFS{"srv/acme/.env": {Data: dotenv}}
		p, err := Parse(t.Context(), name, data, Options{Dir: "/srv/acme", FS: files})
		if err == nil {
			if p.Spec.Hash == "" || len(p.Spec.Services) == 0 {
				t.Fatalf("taken, but empty: %+v", p.Spec)
			}
			return
		}
		for _, e := range problems(t, err) {
			text := data
			if e.File != name {
				text = dotenv
			}
			if lines := bytes.Count(text, []byte("\n")) + 1; e.Line < 1 || e.Line > lines || e.Col < 1 {
				t.Errorf("%v: the file has %d lines", e, lines)
			}
			if e.Problem == "" || bytes.ContainsAny([]byte(e.Error()), "\n\r\x00") {
				t.Errorf("not one line of text: %q", e.Error())
			}
		}
	})
}
