package compose

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Error is one problem of an operator's file.
type Error struct {
	// File is the compose file, or the env file that is wrong.
	File string
	// Line and Col begin at 1 and are never 0.
	Line, Col int
	// Key is the path of the key, "services.backend.x-autoscale.max"; empty
	// where the file is no YAML.
	Key string
	// Problem says what is wrong, Want what would be right where the problem
	// does not say it.
	Problem string
	Want    string
}

// Error gives "file:line:column: key: problem: want …".
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: ", e.File, e.Line, e.Col)
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.Problem)
	if e.Want != "" {
		b.WriteString(": want " + e.Want)
	}
	return b.String()
}

// Warning is something an operator should know of a file that is in order.
type Warning struct {
	File      string
	Line, Col int
	Key       string
	Text      string
}

// String gives "file:line:column: key: text".
func (w Warning) String() string {
	return fmt.Sprintf("%s:%d:%d: %s: %s", w.File, w.Line, w.Col, w.Key, w.Text)
}

// report gathers what is found on the way through a file.
type report struct {
	file string
	root *value
	errs []*Error
	// bad are the keys that have a problem; what follows from them is not
	// reported again.
	bad      []string
	warnings []Warning
}

// at reports a problem of the value v.
func (r *report) at(p path, v *value, problem, want string) {
	r.add(p, v.line, v.col, problem, want)
}

// key reports a problem of the key that v belongs to.
func (r *report) key(p path, v *value, problem, want string) {
	line, col := v.keyPos()
	r.add(p, line, col, problem, want)
}

// path reports a problem at the place that p names, or at the nearest one
// around it that is in the file. What follows from a problem that has been
// reported is left out.
func (r *report) path(p path, problem, want string) {
	if r.isBad(p) {
		return
	}
	line, col := r.root.position(p)
	r.add(p, line, col, problem, want)
}

func (r *report) add(p path, line, col int, problem, want string) {
	r.errs = append(r.errs, &Error{
		File: r.file, Line: line, Col: col,
		Key: p.String(), Problem: clean(problem), Want: want,
	})
	r.bad = append(r.bad, p.String())
}

func (r *report) warn(p path, text string) {
	line, col := r.root.position(p)
	r.warnings = append(r.warnings, Warning{r.file, line, col, p.String(), text})
}

// isBad says whether p, something around it or something inside it has been
// reported.
func (r *report) isBad(p path) bool {
	key := p.String()
	for _, bad := range r.bad {
		if bad == key || within(bad, key) || within(key, bad) {
			return true
		}
	}
	return false
}

// within says whether the key inner lies inside of outer.
func within(inner, outer string) bool {
	return len(inner) > len(outer) && strings.HasPrefix(inner, outer) &&
		(inner[len(outer)] == '.' || inner[len(outer)] == '[')
}

// err joins the problems in the order of the file; nil when there are none.
func (r *report) err() error {
	slices.SortStableFunc(r.errs, func(a, b *Error) int {
		return cmp.Or(
			cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col),
			cmp.Compare(a.Key, b.Key), cmp.Compare(a.Problem, b.Problem),
		)
	})
	r.errs = slices.CompactFunc(r.errs, func(a, b *Error) bool { return *a == *b })
	joined := make([]error, len(r.errs))
	for i, e := range r.errs {
		joined[i] = e
	}
	return errors.Join(joined...)
}

func (r *report) sortedWarnings() []Warning {
	slices.SortStableFunc(r.warnings, func(a, b Warning) int {
		return cmp.Or(
			cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col),
			cmp.Compare(a.Key, b.Key), cmp.Compare(a.Text, b.Text),
		)
	})
	return slices.Compact(r.warnings)
}

// clean keeps a problem on one line of readable text: parts of it may come
// from the file.
func clean(s string) string {
	return strings.Map(func(c rune) rune {
		if c == '\n' || c == '\t' {
			return ' '
		}
		if c < ' ' || c == 0x7f {
			return '\uFFFD'
		}
		return c
	}, strings.TrimSpace(s))
}

// quote shows a scalar of the file in a problem, cut where it is long.
func quote(s string) string {
	const most = 60
	if runes := []rune(s); len(runes) > most {
		s = string(runes[:most]) + "…"
	}
	return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"`
}
