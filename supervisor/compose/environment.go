package compose

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/consts"
	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v4"
)

// variables are the values for ${NAME}.
type variables map[string]string

func (v variables) lookup(name string) (string, bool) {
	s, ok := v[name]
	return s, ok
}

// readDotEnv gives the process environment over the values of the file .env,
// which may be absent.
func (r *report) readDotEnv(f *files, opts Options) variables {
	env, process := variables{}, variables{}
	for _, pair := range opts.Environ {
		if name, val, ok := strings.Cut(pair, "="); ok && name != "" {
			process[name] = val
		}
	}
	name := filepath.Join(opts.Dir, ".env")
	data, err := f.read(name)
	switch {
	case err == nil:
		r.parseEnvFile(name, data, env, process.lookup)
	case !errors.Is(err, fs.ErrNotExist):
		r.errs = append(r.errs, &Error{File: name, Line: 1, Col: 1, Problem: reason(err)})
	}
	maps.Copy(env, process)
	return env
}

// parseEnvFile adds the variables of an env file to vars, with docker
// compose's syntax. Neither problems nor warnings repeat what the file says:
// it is where passwords are.
func (r *report) parseEnvFile(name string, data []byte, vars map[string]string, lookup func(string) (string, bool)) {
	// The library prints to the process's stderr what is not set, so it is told
	// that it is set to nothing, which has the same result.
	quiet := func(k string) (string, bool) {
		if s, ok := lookup(k); ok {
			return s, true
		}
		if s, ok := vars[k]; ok {
			return s, true
		}
		if line := lineOf(data, k); line > 0 {
			r.warnings = append(r.warnings, Warning{name, line, 1, "env file",
				`"$" begins the name of a variable that is not set; an empty string is used (single quotes keep it as it is)`})
			return "", true
		}
		return "", false
	}
	err := guard(func() error {
		return dotenv.ParseWithFormat(bytes.NewReader(data), name, vars, quiet, "")
	})
	if err != nil {
		r.errs = append(r.errs, envError(name, data, err))
	}
}

// lineOf is where a file first uses a variable without a default; 0 for never.
func lineOf(data []byte, variable string) int {
	for i, line := range strings.Split(string(data), "\n") {
		if bare(line, variable) {
			return i + 1
		}
	}
	return 0
}

var envLinePattern = regexp.MustCompile(`line (\d+): (unexpected character|key cannot contain a space|unterminated quoted value)`)

func envError(name string, data []byte, err error) *Error {
	e := &Error{File: name, Line: 1, Col: 1, Problem: "cannot be read as an env file", Want: "lines NAME=value"}
	var missing *template.MissingRequiredError
	var invalid *template.InvalidTemplateError
	switch {
	case errors.As(err, &missing):
		e.Problem, e.Want = "a required variable is missing a value", ""
	case errors.As(err, &invalid):
		e.Problem, e.Want = `invalid use of "$"`, `${NAME}, or single quotes around the value`
		before, _, _ := bytes.Cut(data, []byte(invalid.Template))
		e.Line = bytes.Count(before, []byte("\n")) + 1
	}
	if m := envLinePattern.FindStringSubmatch(err.Error()); m != nil {
		e.Line, _ = strconv.Atoi(m[1])
		e.Problem = map[string]string{
			"unexpected character":       "unexpected character in the name of a variable",
			"key cannot contain a space": "a name of a variable contains a space",
			"unterminated quoted value":  "a quoted value does not end",
		}[m[2]]
	}
	e.Line = min(max(e.Line, 1), bytes.Count(data, []byte("\n"))+1)
	return e
}

// projectName is found as docker compose does it: COMPOSE_PROJECT_NAME, the
// name key, the directory. It becomes COMPOSE_PROJECT_NAME for the file.
func (r *report) projectName(top *yaml.Node, env variables, dir string) string {
	const want = "lower-case letters, digits, hyphens and underscores, with a letter or digit first"
	name, at := env[consts.ComposeProjectName], top
	if name == "" {
		name, at = nameKey(top, env)
	}
	if name == "" {
		name, at = loader.NormalizeProjectName(filepath.Base(dir)), top
	}
	if name == "" || len(name) > 63 || loader.NormalizeProjectName(name) != name {
		v := &value{line: max(at.Line, 1), col: max(at.Column, 1)}
		r.at(place{"name"}, v, "project name "+quote(name), want)
		return "invalid"
	}
	env[consts.ComposeProjectName] = name
	return name
}

// nameKey is the top-level name key after interpolation.
func nameKey(top *yaml.Node, env variables) (string, *yaml.Node) {
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, node := top.Content[i], top.Content[i+1]
		if top.Kind != yaml.MappingNode || key.Value != "name" || node.Kind != yaml.ScalarNode {
			continue
		}
		if name, err := substitute(node.Value, env.lookup); err == nil {
			return name, node
		}
	}
	return "", top
}

// environment gives a service's variables as sorted "NAME=value": those of its
// env files, and over them those of environment. A name without a value takes
// it from env, and is left out where there is none.
func (r *report) environment(p place, s types.ServiceConfig, env variables, f *files) []string {
	own := map[string]string{}
	for name, val := range s.Environment {
		if val == nil {
			if s, ok := env[name]; ok {
				own[name] = s
			}
			continue
		}
		own[name] = *val
	}
	all := maps.Clone(own)
	for i, file := range s.EnvFiles {
		at := r.itemPath(p.child("env_file"), i)
		data, err := f.read(file.Path)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) || bool(file.Required) {
				r.path(at, quote(file.Path)+": "+reason(err), "")
			}
			continue
		}
		r.parseEnvFile(file.Path, data, all, func(k string) (string, bool) {
			if s, ok := env[k]; ok {
				return s, true
			}
			s, ok := own[k]
			return s, ok
		})
	}
	maps.Copy(all, own)
	out := make([]string, 0, len(all))
	for name, val := range all {
		out = append(out, name+"="+val)
	}
	slices.Sort(out)
	if len(out) == 0 {
		return nil
	}
	return out
}

// itemPath is the place of the item of a list, or p where the file has the
// short form with one value.
func (r *report) itemPath(p place, i int) place {
	v := r.root
	for _, part := range p {
		v = v.get(part)
	}
	if v != nil && v.kind == listKind {
		return p.child(index(i))
	}
	return p
}
