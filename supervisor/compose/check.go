package compose

import (
	"maps"
	"slices"
	"strings"
)

// shape checks one value of the file.
type shape func(r *report, p place, v *value)

// rules says which keys a mapping may have.
type rules struct {
	known map[string]shape
	// refused are keys of docker compose that would have no effect here, each
	// with what to do instead, which may be empty.
	refused map[string]string
	// closed mappings are ours: they take no foreign x- keys, and a problem
	// lists what they know.
	closed bool
}

// ours are the extensions that mean something here, and where.
func ours() map[string]string {
	return map[string]string{
		"x-autoscale": "a service", "x-ingress": "a service", "x-database": "a service",
		"x-backup":     "a service",
		"x-supervisor": "the top level",
	}
}

// check is the shape of a mapping with these keys.
func (k rules) check(r *report, p place, v *value) {
	if !is(r, p, v, mapKind) {
		return
	}
	for _, name := range v.names {
		at, field := p.child(name), v.fields[name]
		if check, ok := k.known[name]; ok {
			check(r, at, field)
			continue
		}
		if hint, ok := k.refused[name]; ok {
			problem := "not supported"
			if hint != "" {
				problem += ": " + hint
			}
			r.key(at, field, problem, "")
			continue
		}
		k.unknown(r, at, name, field)
	}
}

func (k rules) unknown(r *report, at place, name string, field *value) {
	names := slices.Sorted(maps.Keys(k.known))
	if strings.HasPrefix(strings.ToLower(name), "x-") && !k.closed {
		foreign(r, at, name, field, names)
		return
	}
	if near, ok := nearest(name, names); ok {
		r.key(at, field, `unknown key, did you mean "`+near+`"?`, "")
		return
	}
	want := ""
	if k.closed {
		want = "one of " + strings.Join(names, ", ")
	}
	r.key(at, field, "unknown key", want)
}

// foreign lets extensions of other tools pass, but neither ours at a place
// where they have no effect nor what looks like a slip in one of ours.
func foreign(r *report, at place, name string, field *value, here []string) {
	for known, place := range ours() {
		if name == known && !slices.Contains(here, known) {
			r.key(at, field, known+" has no effect here, it belongs to "+place, "")
			return
		}
	}
	names := slices.Sorted(maps.Keys(ours()))
	if near, ok := nearest(name, names); ok {
		r.key(at, field, `unknown key, did you mean "`+near+`"?`, "")
	}
}

// nearest is the name that a slip of one or two letters turns into this one.
func nearest(name string, names []string) (string, bool) {
	best, at := "", 3
	for _, n := range names {
		if d := distance(strings.ToLower(name), n); d < at && d < len(n)/2 {
			best, at = n, d
		}
	}
	return best, best != ""
}

// distance is Levenshtein's, and 3 for all that is further apart.
func distance(a, b string) int {
	if d := len(a) - len(b); d > 2 || d < -2 {
		return 3
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return min(row[len(b)], 3)
}

// is reports a value that is not of the kind.
func is(r *report, p place, v *value, k kind) bool {
	if v.kind == k {
		return true
	}
	r.wrongKind(p, v, k.String())
	return false
}

func (r *report) wrongKind(p place, v *value, want string) {
	problem := v.kind.String() + " is given"
	if v.kind == scalarKind {
		problem = v.written()
	}
	r.at(p, v, problem, want)
}

// each is the shape of a list.
func each(item shape) shape {
	return func(r *report, p place, v *value) {
		if !is(r, p, v, listKind) {
			return
		}
		for i, it := range v.items {
			item(r, p.child(index(i)), it)
		}
	}
}

// every is the shape of a mapping with names that the operator chooses.
func every(field shape) shape {
	return func(r *report, p place, v *value) {
		if !is(r, p, v, mapKind) {
			return
		}
		for _, name := range v.names {
			field(r, p.child(name), v.fields[name])
		}
	}
}

// forms is the shape of a value with a short and a long form.
type forms struct {
	scalar, list, mapping shape
	null                  bool
	want                  string
}

func (f forms) check(r *report, p place, v *value) {
	var s shape
	switch v.kind {
	case scalarKind:
		s = f.scalar
	case listKind:
		s = f.list
	case mapKind:
		s = f.mapping
	case nullKind:
		if f.null {
			return
		}
	}
	if s == nil {
		r.wrongKind(p, v, f.want)
		return
	}
	s(r, p, v)
}
