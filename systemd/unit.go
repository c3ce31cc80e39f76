package systemd

import (
	"bytes"
	_ "embed"
	"fmt"
	"strings"
	"text/template"
)

// DefaultBinary is where the daemon is installed by hand.
const DefaultBinary = "/usr/local/bin/supervisord"

// Unit is what differs between two hosts' unit files.
type Unit struct {
	// Binary is the daemon's absolute path; "" is DefaultBinary.
	Binary string
	// Args follow "run": flags, where paths and addresses are not the usual
	// ones.
	Args []string
	// Writable are further absolute paths that the daemon, or nginx when it
	// tests a configuration, writes to: those of a main configuration that
	// keeps logs or temporary files elsewhere. One that does not exist is left
	// out.
	Writable []string
}

//go:embed unit.tmpl
var unitText string

// Render returns the unit file's text. The same Unit gives the same text.
func (u Unit) Render() []byte {
	if u.Binary == "" {
		u.Binary = DefaultBinary
	}
	start := []string{word(u.Binary, true), "run"}
	for _, a := range u.Args {
		start = append(start, word(a, true))
	}
	var writable []string
	for _, p := range u.Writable {
		writable = append(writable, word("-"+p, false))
	}
	var b bytes.Buffer
	t := template.Must(template.New("unit").Parse(unitText))
	// The template is a constant with two strings in it, and a buffer takes
	// everything: an error here is a bug that every test would show.
	if err := t.Execute(&b, map[string]string{"Start": strings.Join(start, " "), "Writable": strings.Join(writable, " ")}); err != nil {
		panic(fmt.Sprintf("systemd: render unit: %v", err))
	}
	return b.Bytes()
}

// word makes any text one word of a unit file, whatever is in it: systemd
// splits at blanks, reads quotes and backslashes, expands % and, in commands,
// $. See systemd.syntax(7) and systemd.service(5), "Command lines".
func word(s string, command bool) string {
	s = strings.ReplaceAll(s, "%", "%%")
	if command {
		s = strings.ReplaceAll(s, "$", "$$")
	}
	if s != "" && !strings.ContainsFunc(s, special) {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(s) {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// special are the characters that need quotes; a lone ; separates commands.
func special(r rune) bool {
	return r <= ' ' || r == 0x7f || strings.ContainsRune(`"'\;`, r)
}
