package compose

import (
	"strings"

	"go.yaml.in/yaml/v4"
)

// path names a place in the file: keys, and "[0]" for items of a list.
type place []string

func (p place) String() string {
	var b strings.Builder
	for i, part := range p {
		if i > 0 && !strings.HasPrefix(part, "[") {
			b.WriteByte('.')
		}
		b.WriteString(part)
	}
	return b.String()
}

// child is the path of a key inside of p.
func (p place) child(parts ...string) place {
	return append(append(make(place, 0, len(p)+len(parts)), p...), parts...)
}

type kind int

const (
	nullKind kind = iota
	scalarKind
	listKind
	mapKind
)

func (k kind) String() string {
	return [...]string{"nothing", "a single value", "a list", "a mapping"}[k]
}

// value is a node of the file after aliases, merge keys and interpolation. It
// remembers where it stands.
type value struct {
	kind      kind
	line, col int
	// keyLine and keyCol are of the key in the mapping around; 0 for items.
	keyLine, keyCol int
	// Of scalars: text after and raw before interpolation, tag in short form.
	text, raw, tag string
	style          yaml.Style
	// Of mappings: names in the order of the file.
	names  []string
	fields map[string]*value
	// Of lists.
	items []*value
}

// get is the value of a key; nil where there is none.
func (v *value) get(name string) *value {
	if v == nil {
		return nil
	}
	return v.fields[name]
}

func (v *value) set(name string, field *value) {
	if _, ok := v.fields[name]; !ok {
		v.names = append(v.names, name)
	}
	if v.fields == nil {
		v.fields = map[string]*value{}
	}
	v.fields[name] = field
}

func (v *value) keyPos() (line, col int) {
	if v.keyLine > 0 {
		return v.keyLine, v.keyCol
	}
	return v.line, v.col
}

// position is where p stands, or the nearest place around it that exists.
// Scalars give the place of the value, all else the place of the key.
func (v *value) position(p place) (line, col int) {
	for _, part := range p {
		next := v.get(part)
		if next == nil {
			next = v.item(part)
		}
		if next == nil {
			break
		}
		v = next
	}
	if v.kind == scalarKind {
		return v.line, v.col
	}
	return v.keyPos()
}

// item finds the item that a part such as "[2]" names.
func (v *value) item(part string) *value {
	for i, it := range v.items {
		if index(i) == part {
			return it
		}
	}
	return nil
}

// written is the scalar as the operator wrote it: an interpolated value may
// come from the environment and be a secret.
func (v *value) written() string { return quote(v.raw) }

// plain turns the value into what a YAML decoder would give, without what
// drop picks out.
func (v *value) plain(p place, drop func(place) bool) any {
	switch v.kind {
	case mapKind:
		m := make(map[string]any, len(v.names))
		for _, name := range v.names {
			if at := p.child(name); !drop(at) {
				m[name] = v.fields[name].plain(at, drop)
			}
		}
		return m
	case listKind:
		list := make([]any, 0, len(v.items))
		for i, it := range v.items {
			if at := p.child(index(i)); !drop(at) {
				list = append(list, it.plain(at, drop))
			}
		}
		return list
	case scalarKind:
		return v.scalar()
	}
	return nil
}

// scalar decodes a scalar by its tag. Dates and what does not fit its tag stay
// text.
func (v *value) scalar() any {
	switch v.tag {
	case "!!int", "!!float", "!!bool":
		var out any
		n := yaml.Node{Kind: yaml.ScalarNode, Tag: v.tag, Value: v.text, Style: v.style}
		if err := n.Decode(&out); err == nil {
			return out
		}
	}
	return v.text
}

// merged is the value of a service that extends another one: mappings are
// merged key by key, all else is replaced. Lists are appended as docker compose
// does it, but inside of x- keys replaced: a service that extends another one
// wants its own host names.
func merged(base, over *value, lists bool) *value {
	if base == nil || base.kind != over.kind {
		return over
	}
	out := *over
	switch {
	case over.kind == mapKind:
		out.names, out.fields = nil, nil
		for _, name := range base.names {
			out.set(name, base.fields[name])
		}
		for _, name := range over.names {
			out.set(name, merged(base.get(name), over.fields[name], lists && !strings.HasPrefix(name, "x-")))
		}
	case over.kind == listKind && lists:
		out.items = append(append([]*value{}, base.items...), over.items...)
	}
	return &out
}
