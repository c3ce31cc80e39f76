package compose

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"
)

// load hands the file, without what has a problem, to docker compose's own
// loader. Where the loader finds a problem that the shapes have let through,
// or that is left where something was taken out, the service around it is left
// out as well. It gives nil where nothing helps.
func (r *report) load(ctx context.Context, tree *value, name, dir string, env variables) *types.Project {
	out := maps.Clone(r.bad)
	if out == nil {
		out = map[string]bool{}
	}
	for {
		project, err := r.loadWithout(ctx, tree, out, name, dir, env)
		if err == nil {
			return project
		}
		p := r.loaderError(err)
		if len(p) < 2 || out[p[:2].String()] {
			return nil
		}
		out[p[:2].String()] = true
	}
}

func (r *report) loadWithout(ctx context.Context, tree *value, out map[string]bool, name, dir string, env variables) (project *types.Project, err error) {
	dict, ok := tree.plain(nil, func(p place) bool { return out[p.String()] || unneeded(p) }).(map[string]any)
	if !ok {
		return nil, errors.New("the file is not a mapping")
	}
	details := types.ConfigDetails{
		WorkingDir:  dir,
		ConfigFiles: []types.ConfigFile{{Filename: r.file, Config: dict}},
		Environment: types.Mapping(env),
	}
	err = guard(func() (err error) {
		project, err = loader.LoadWithContext(ctx, details, func(o *loader.Options) {
			o.SetProjectName(name, true)
			o.SkipInclude = true
			// These would read files, or stop at the first problem.
			o.SkipResolveEnvironment = true
			o.SkipResolveLabels = true
			o.SkipConsistencyCheck = true
			// Values are interpolated already; the casts by key are not done.
			o.Interpolate.Substitute = func(s string, _ template.Mapping) (string, error) { return s, nil }
		})
		return err
	})
	return project, err
}

// unneeded are keys that docker compose's loader need not see.
func unneeded(p place) bool {
	last := p[len(p)-1]
	switch {
	case len(p) == 1:
		return last == "version" || last == "name" || strings.HasPrefix(last, "x-")
	case len(p) == 3 && p[0] == "services":
		return last == "build" || strings.HasPrefix(last, "x-")
	}
	return false
}

var keyPattern = regexp.MustCompile(`(?:services|networks|volumes|secrets|configs)(?:\.[A-Za-z0-9_-]+|\[[0-9]+\])+`)

// loaderError reports a message of the loader at the best place that it names,
// unless it is about what is left after a problem that has been reported.
func (r *report) loaderError(err error) place {
	text := strings.TrimPrefix(clean(err.Error()), "validating "+r.file+": ")
	p := place{"services"}
	if key := keyPattern.FindString(text); key != "" {
		p = split(key)
		text = strings.TrimLeft(strings.Replace(text, key, "", 1), ": ")
	}
	if len(r.errs) == 0 || !r.isBad(p) {
		line, col := r.root.position(p)
		r.add(p, line, col, text, "")
	}
	return p
}

// guard turns a panic of a library into an error: a file that an operator
// writes must not end a daemon.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the reader failed: %v", p)
		}
	}()
	return f()
}
