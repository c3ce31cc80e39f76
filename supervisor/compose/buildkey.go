package compose

import (
	"path/filepath"
	"slices"
	"strings"
)

// Build says how the image of a service is built from source.
type Build struct {
	Service string
	// Image is the service's: the name that what is built gets.
	Image string
	// Context is the absolute directory that is built from, Dockerfile the path
	// of the recipe, relative to it.
	Context    string
	Dockerfile string
	// Args are build arguments; Target is the stage to build, the last one
	// where it is empty.
	Args   map[string]string
	Target string
	// Unknown are the keys of build that have no effect here, sorted.
	Unknown []string
}

// readBuild reads a service's build key: a directory, or a mapping.
func (b *builder) readBuild(service, image string, v *value) Build {
	out := Build{Service: service, Image: image, Context: ".", Dockerfile: "Dockerfile", Args: map[string]string{}}
	if v.kind == scalarKind {
		out.Context = v.text
	}
	for _, key := range v.names {
		field := v.get(key)
		switch {
		case key == "context" && field.kind == scalarKind:
			out.Context = field.text
		case key == "dockerfile" && field.kind == scalarKind:
			out.Dockerfile = field.text
		case key == "target" && field.kind == scalarKind:
			out.Target = field.text
		case key == "args" && field.kind != scalarKind:
			b.buildArgs(out.Args, field)
		default:
			out.Unknown = append(out.Unknown, key)
		}
	}
	slices.Sort(out.Unknown)
	if !filepath.IsAbs(out.Context) {
		out.Context = filepath.Join(b.dir, out.Context)
	}
	return out
}

// buildArgs reads a mapping, or a list of NAME=value. An argument without a
// value has that of the environment.
func (b *builder) buildArgs(args map[string]string, v *value) {
	put := func(name, text string, given bool) {
		if !given {
			text, given = b.env.lookup(name)
		}
		if given {
			args[name] = text
		}
	}
	for _, name := range v.names {
		field := v.get(name)
		put(name, field.text, field.kind == scalarKind)
	}
	for _, item := range v.items {
		name, text, given := strings.Cut(item.text, "=")
		put(name, text, given)
	}
}
