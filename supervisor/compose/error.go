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
	// lines is how many lines the file has: what the parser expects after the
	// end is reported in the last one.
	lines int
	root  *value
	errs  []*Error
	// bad are the keys that have a problem, and around the keys around them:
	// what follows from a problem is not reported again.
	bad, around map[string]bool
	warnings    []Warning
}

// at reports a problem of the value v.
func (r *report) at(p place, v *value, problem, want string) {
	r.add(p, v.line, v.col, problem, want)
}

// key reports a problem of the key that v belongs to.
func (r *report) key(p place, v *value, problem, want string) {
	line, col := v.keyPos()
	r.add(p, line, col, problem, want)
}

// path reports a problem at the place that p names, or at the nearest one
// around it that is in the file. What follows from a problem that has been
// reported is left out.
func (r *report) path(p place, problem, want string) {
	if r.isBad(p) {
		return
	}
	line, col := r.root.position(p)
	r.add(p, line, col, problem, want)
}

// add reports one problem of each key: the second is mostly an echo of the
// first.
func (r *report) add(p place, line, col int, problem, want string) {
	key := p.String()
	if len(p) > 0 && r.bad[key] {
		return
	}
	r.errs = append(r.errs, &Error{
		File: r.file, Line: min(line, r.lines), Col: col,
		Key: clean(key), Problem: clean(problem), Want: want,
	})
	if r.bad == nil {
		r.bad, r.around = map[string]bool{}, map[string]bool{}
	}
	r.bad[key] = true
	for i := range p {
		r.around[p[:i].String()] = true
	}
}

func (r *report) warn(p place, text string) {
	line, col := r.root.position(p)
	r.warnings = append(r.warnings, Warning{r.file, min(line, r.lines), col, p.String(), text})
}

// isBad says whether p, something around it or something inside it has been
// reported.
func (r *report) isBad(p place) bool {
	if r.around[p.String()] {
		return true
	}
	for i := range len(p) + 1 {
		if r.bad[p[:i].String()] {
			return true
		}
	}
	return false
}

// mostProblems bounds what is reported of one file: an operator reads no more,
// and the text travels through the cluster's log.
const mostProblems = 100

// err joins the problems in the order of the file; nil when there are none.
func (r *report) err() error {
	slices.SortStableFunc(r.errs, func(a, b *Error) int {
		return cmp.Or(
			cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col),
			cmp.Compare(a.Key, b.Key), cmp.Compare(a.Problem, b.Problem),
		)
	})
	r.errs = slices.CompactFunc(r.errs, func(a, b *Error) bool { return *a == *b })
	if more := len(r.errs) - mostProblems; more > 0 {
		last := r.errs[mostProblems-1]
		r.errs = append(r.errs[:mostProblems], &Error{
			File: last.File, Line: last.Line, Col: last.Col, Problem: fmt.Sprintf("%d more problems follow", more),
		})
	}
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
