package compose

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/supervisord/supervisord/supervisor/state"
)

// Project is an operator's file that is in order.
type Project struct {
	Spec state.Spec
	// Builds are the services with a build key, in the order of the file.
	Builds []Build
	// Files are the absolute paths of all other files that were looked at:
	// .env, env files, secrets and configs. Some need not exist.
	Files []string
	// Warnings are in the order of the file.
	Warnings []Warning
}

// Options are what a file is read with besides its own text.
type Options struct {
	// Environ is the process environment as "NAME=value": it fills in ${NAME}
	// and goes before the file .env.
	Environ []string
	// Dir is the absolute directory that relative paths begin at, and that
	// gives the project its name; empty means the directory of the file, whose
	// path has to be absolute then.
	Dir string
	// FS is the file system from its root, usually os.DirFS("/"): it is asked
	// for "etc/supervisord/.env". A nil FS has no files.
	FS fs.FS
}

// Load reads a file from the disk; see Parse. Of opts only Environ is used. An
// error of the disk is wrapped, so that errors.Is with fs.ErrNotExist works.
func Load(ctx context.Context, file string, opts Options) (*Project, error) {
	project, _, err := load(ctx, file, opts)
	return project, err
}

// load gives the other files that were looked at, too, whatever came of it.
func load(ctx context.Context, file string, opts Options) (*Project, []string, error) {
	dir, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return nil, nil, fmt.Errorf("read compose file: %w", err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, fmt.Errorf("read compose file: %w", err)
	}
	return parse(ctx, file, data, Options{Environ: opts.Environ, Dir: dir, FS: os.DirFS("/")})
}

// Parse turns the text of a compose file into a Project. It touches nothing
// but opts.FS, and the same input gives the same output.
//
// Where the file has problems, the Project is nil and the error joins one
// *Error for each of them, in the order of the file. The context is handed to
// the loader and not waited for.
func Parse(ctx context.Context, file string, data []byte, opts Options) (*Project, error) {
	project, _, err := parse(ctx, file, data, opts)
	return project, err
}

func parse(ctx context.Context, file string, data []byte, opts Options) (*Project, []string, error) {
	if opts.Dir == "" {
		opts.Dir = filepath.Dir(file)
	}
	if !filepath.IsAbs(opts.Dir) {
		return nil, nil, fmt.Errorf("parse %s: the directory %q is not absolute", file, opts.Dir)
	}
	r := &report{file: file, lines: bytes.Count(data, []byte("\n")) + 1}
	files := &files{fs: opts.FS, seen: map[string]bool{}}
	env := r.readDotEnv(files, opts)
	node, problem := decode(file, data)
	if problem != nil {
		r.errs = append(r.errs, problem)
		return nil, files.list(), r.err()
	}
	spec, builds := r.read(ctx, node, env, files, opts.Dir)
	if err := r.err(); err != nil {
		return nil, files.list(), err
	}
	spec.Source = string(data)
	return &Project{Spec: spec, Builds: builds, Files: files.list(), Warnings: r.sortedWarnings()}, files.list(), nil
}

// read goes from nodes to a Spec. What has a problem is left out on the way,
// so that the rest can be checked as well; a report with problems makes the
// result void.
func (r *report) read(ctx context.Context, node *yaml.Node, env variables, files *files, dir string) (state.Spec, []Build) {
	name := r.projectName(node, env, dir)
	res := &resolver{report: r, lookup: env.lookup, active: map[*yaml.Node]bool{}}
	r.root = res.resolve(nil, node)
	if res.full {
		return state.Spec{}, nil
	}
	if r.root.kind != mapKind {
		r.at(nil, r.root, "the file is not a mapping", "services and their keys")
		return state.Spec{}, nil
	}
	topRules().check(r, nil, r.root)
	if r.root.get("services") == nil {
		r.path(place{"services"}, "missing", "at least one service")
	}
	written := r.root
	r.applyExtends()

	b := &builder{report: r, env: env, files: files, dir: dir}
	b.project = r.load(ctx, written, name, dir, env)
	return b.spec(name), b.builds
}

// files is the file system with a memory of what was asked for.
type files struct {
	fs   fs.FS
	seen map[string]bool
}

// inRoot is the name that an fs.FS of the root has for an absolute path.
func inRoot(name string) string {
	if name = strings.TrimPrefix(filepath.Clean(name), "/"); name == "" {
		return "."
	}
	return name
}

// read gives a regular file's content.
func (f *files) read(name string) ([]byte, error) {
	if err := f.exists(name); err != nil {
		return nil, err
	}
	return fs.ReadFile(f.fs, inRoot(name))
}

// exists is nil for a regular file.
func (f *files) exists(name string) error {
	f.seen[filepath.Clean(name)] = true
	if f.fs == nil {
		return fs.ErrNotExist
	}
	info, err := fs.Stat(f.fs, inRoot(name))
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errNotRegular
	}
	return nil
}

var errNotRegular = errors.New("not a regular file")

// reason says in a few words why a file cannot be read.
func reason(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "the file does not exist"
	case errors.Is(err, fs.ErrPermission):
		return "the file may not be read"
	case errors.Is(err, errNotRegular):
		return "it is not a regular file"
	}
	return err.Error()
}

func (f *files) list() []string { return slices.Sorted(maps.Keys(f.seen)) }
