package compose

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/template"
	"go.yaml.in/yaml/v4"
)

// maxNodes bounds what aliases may blow a file up to.
const maxNodes = 50_000

// maxDepth bounds how deep a file may be nested.
const maxDepth = 64

// resolver turns YAML nodes into values.
type resolver struct {
	*report
	lookup func(string) (string, bool)
	nodes  int
	full   bool
	// active are the anchors that are being followed, to notice a circle.
	active map[*yaml.Node]bool
}

// resolve follows aliases and merge keys and interpolates scalars.
func (r *resolver) resolve(p place, n *yaml.Node) *value {
	v := &value{line: max(n.Line, 1), col: max(n.Column, 1)}
	if r.exhausted(p, v) {
		return v
	}
	switch n.Kind {
	case yaml.AliasNode:
		return r.alias(p, v, n)
	case yaml.MappingNode:
		v.kind = mapKind
		r.checkTag(p, v, n, "!!map")
		r.mapping(p, v, n)
	case yaml.SequenceNode:
		v.kind = listKind
		r.checkTag(p, v, n, "!!seq")
		for i, item := range n.Content {
			v.items = append(v.items, r.resolve(p.child(index(i)), item))
		}
	case yaml.ScalarNode:
		r.scalar(p, v, n)
	}
	return v
}

// exhausted reports, once, a file that grows beyond all use.
func (r *resolver) exhausted(p place, v *value) bool {
	if r.full {
		return true
	}
	r.nodes++
	if r.nodes > maxNodes || len(p) > maxDepth {
		r.full = true
		r.at(p[:min(len(p), 1)], v, "too much: aliases or nesting make the file too large", "")
	}
	return r.full
}

func (r *resolver) alias(p place, v *value, n *yaml.Node) *value {
	if n.Alias == nil || r.active[n.Alias] {
		r.at(p, v, "alias *"+n.Value+" contains itself", "")
		return v
	}
	r.active[n.Alias] = true
	defer delete(r.active, n.Alias)
	return r.resolve(p, n.Alias)
}

func (r *resolver) checkTag(p place, v *value, n *yaml.Node, want string) {
	if tag := n.ShortTag(); tag != want {
		r.at(p, v, "tag "+quote(tag)+" is not supported", "plain YAML")
	}
}

func (r *resolver) mapping(p place, v *value, n *yaml.Node) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, node := n.Content[i], n.Content[i+1]
		k := &value{line: max(key.Line, 1), col: max(key.Column, 1)}
		if key.ShortTag() == "!!merge" {
			continue
		}
		if key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str" {
			r.at(p.child(key.Value), k, "the key is not a string", "quotes around it")
			continue
		}
		at := p.child(key.Value)
		if first := v.get(key.Value); first != nil {
			r.at(at, k, fmt.Sprintf("duplicate key, first in line %d", first.keyLine), "")
			continue
		}
		field := r.resolve(at, node)
		field.keyLine, field.keyCol = k.line, k.col
		v.set(key.Value, field)
	}
	r.merge(p, v, n)
}

// merge adds what merge keys bring and the mapping does not say itself.
func (r *resolver) merge(p place, v *value, n *yaml.Node) {
	seen := false
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, node := n.Content[i], n.Content[i+1]
		if key.ShortTag() != "!!merge" {
			continue
		}
		k := &value{line: max(key.Line, 1), col: max(key.Column, 1)}
		if seen {
			r.at(p.child("<<"), k, "duplicate key", `one "<<" with a list of aliases`)
			continue
		}
		seen = true
		brought := r.resolve(p, node)
		sources := []*value{brought}
		if brought.kind == listKind {
			sources = brought.items
		}
		for _, source := range sources {
			if source.kind != mapKind {
				r.at(p.child("<<"), k, "cannot merge "+source.kind.String(), "a mapping")
				continue
			}
			for _, name := range source.names {
				if v.get(name) == nil {
					v.set(name, source.fields[name])
				}
			}
		}
	}
}

func (r *resolver) scalar(p place, v *value, n *yaml.Node) {
	v.tag, v.style = n.ShortTag(), n.Style
	v.raw, v.text = n.Value, n.Value
	v.kind = scalarKind
	switch v.tag {
	case "!!null":
		v.kind = nullKind
	case "!!int", "!!float", "!!bool", "!!timestamp", "!!merge":
	case "!!str":
		if strings.Contains(n.Value, "$") {
			r.interpolate(p, v)
		}
	default:
		v.tag = "!!str"
		r.at(p, v, "tag "+quote(n.ShortTag())+" is not supported", "plain YAML")
	}
}

func (r *resolver) interpolate(p place, v *value) {
	var unset []string
	lookup := func(name string) (string, bool) {
		s, ok := r.lookup(name)
		if !ok && bare(v.raw, name) {
			unset = append(unset, name)
		}
		return s, ok
	}
	text, err := substitute(v.raw, lookup)
	var missing *template.MissingRequiredError
	switch {
	case errors.As(err, &missing):
		r.at(p, v, missing.Error(), "")
	case err != nil:
		r.at(p, v, `invalid use of "$"`, `${NAME}, or "$$" for a plain dollar`)
	}
	for _, name := range unset {
		// The tree is not complete yet, so the place is taken from v.
		r.warnings = append(r.warnings, Warning{r.file, v.line, v.col, p.String(),
			"variable " + name + " is not set; an empty string is used"})
	}
	v.text = text
}

// bare says whether the text uses the variable without a default.
func bare(text, name string) bool {
	return strings.Contains(text, "${"+name+"}") ||
		regexp.MustCompile(`\$`+regexp.QuoteMeta(name)+`(\W|$)`).MatchString(text)
}

// substitute does docker compose's interpolation.
func substitute(text string, lookup func(string) (string, bool)) (string, error) {
	return template.SubstituteWithOptions(text, lookup, template.WithoutLogging)
}

// index is the part of a path for an item of a list.
func index(i int) string { return "[" + strconv.Itoa(i) + "]" }
