package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The test of the module's shape: which package may import which, which one
// alone knows a heavy dependency, and what a package that decides never does.
// A rule is changed here, in the commit that says why.

const module = "github.com/supervisord/supervisord"

// mayImport are the packages of this module that each package may import,
// test files and packages for tests aside.
func mayImport() map[string][]string {
	return map[string][]string{
		// Leaves know nobody.
		"autoscale":                  nil,
		"backup":                     nil,
		"backup/dump":                {"backup"},
		"backup/sink":                {"backup"},
		"lbconfig":                   nil,
		"lbconfig/nginx":             {"lbconfig"},
		"lbconfig/accesslog":         nil,
		"raftstore":                  {"raftstore/internal/raftlog"},
		"raftstore/internal/raftlog": nil,
		"raftstore/pki":              nil,
		"raftstore/wire":             {"raftstore/internal/raftlog", "raftstore/pki"},
		"systemd":                    nil,
		"supervisor/probe":           nil,
		"supervisor/certs":           nil,
		"supervisor/seal":            nil,
		// The replicated state holds policies and sites as values.
		"supervisor/state":   {"autoscale", "backup", "lbconfig"},
		"supervisor/plan":    {"autoscale", "backup", "lbconfig/accesslog", "supervisor/state"},
		"supervisor/history": {"autoscale"},
		"supervisor/peer":    {"autoscale", "lbconfig/accesslog", "supervisor/state"},
		"supervisor/sample":  {"autoscale", "lbconfig/accesslog"},
		"supervisor/agent":   {"lbconfig", "supervisor/state"},
		"supervisor/engine":  {"supervisor/agent", "supervisor/state"},
		"supervisor/compose": {"autoscale", "backup", "backup/sink", "lbconfig", "supervisor/state"},
		"supervisor/api":     {"autoscale", "supervisor/state"},
		// The wiring knows everything below.
		"supervisor": {
			"autoscale", "backup", "backup/dump", "backup/sink", "lbconfig", "lbconfig/accesslog", "lbconfig/nginx", "raftstore", "raftstore/pki", "raftstore/wire", "systemd",
			"supervisor/agent", "supervisor/api", "supervisor/compose", "supervisor/engine", "supervisor/history",
			"supervisor/peer", "supervisor/plan", "supervisor/probe", "supervisor/sample", "supervisor/state",
			"supervisor/certs", "supervisor/seal",
		},
		// Commands print the values of the API, which are state's and
		// autoscale's, and validate reads a file without a daemon.
		"cmd/supervisord": {
			"autoscale", "supervisor", "supervisor/api", "supervisor/compose", "supervisor/state",
			"cmd/supervisord/internal/demo", "cmd/supervisord/internal/rig",
			// install writes the unit and nginx's main file.
			"lbconfig", "systemd",
		},
		// The demo and the tests of the whole bring an installation of their
		// own and watch it through the API.
		"cmd/supervisord/internal/demo":  {"autoscale", "lbconfig", "supervisor/api", "supervisor/state"},
		"cmd/supervisord/internal/hosts": {"supervisor/api", "supervisor/state", "cmd/supervisord/internal/demo"},
		"cmd/supervisord/internal/rig":   {"lbconfig", "supervisor/api", "supervisor/state", "cmd/supervisord/internal/demo"},
		"examples/backend":               nil,
	}
}

// ownedBy are dependencies that one package, with what is under it, alone may
// import.
func ownedBy() map[string]string {
	return map[string]string{
		"github.com/docker/docker":         "supervisor/engine",
		"github.com/docker/go-connections": "supervisor/engine",
		"github.com/shirou/gopsutil":       "supervisor/sample",
		"github.com/compose-spec":          "supervisor/compose",
		"github.com/fsnotify":              "supervisor/compose",
		"go.yaml.in/yaml":                  "supervisor/compose",
		"github.com/prometheus":            "supervisor/api",
		"github.com/hashicorp/raft":        "raftstore",
		"github.com/hashicorp/raft-wal":    "raftstore",
		"github.com/coreos/go-systemd":     "systemd",
		"github.com/caddyserver/certmagic": "supervisor/certs",
		"github.com/mholt/acmez":           "supervisor/certs",
		"github.com/libdns":                "supervisor/certs",
		"github.com/miekg/dns":             "supervisor/certs",
		"go.uber.org/zap":                  "supervisor/certs",
		"github.com/netresearch/go-cron":   "backup",
		"filippo.io/age":                   "backup",
		"github.com/klauspost/compress":    "backup",
		"github.com/aws":                   "backup/sink",
		"github.com/spf13/cobra":           "cmd/supervisord",
	}
}

// pure are the packages that decide.
func pure() []string {
	return []string{"autoscale", "lbconfig", "lbconfig/accesslog", "supervisor/state", "supervisor/plan"}
}

// pureFiles decide in packages that do more.
func pureFiles() []string { return []string{"backup/schedule.go", "backup/retention.go"} }

// maxLines is the length of the longest file.
const maxLines = 500

// source is one file of the module.
type source struct {
	// pkg is the directory, file the name.
	pkg, file string
	lines     int
	tree      *ast.File
	set       *token.FileSet
}

func parse(pkg, file string, text []byte) (source, error) {
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, path.Join(pkg, file), text, parser.SkipObjectResolution)
	return source{pkg, file, strings.Count(string(text), "\n"), tree, set}, err
}

// test says whether the file is for tests only.
func (s source) test() bool { return strings.HasSuffix(s.file, "_test.go") || forTests(s.pkg) }

// forTests says whether a package is: agenttest, rafttest and what is under
// them.
func forTests(pkg string) bool {
	return slices.ContainsFunc(strings.Split(pkg, "/"), func(e string) bool { return strings.HasSuffix(e, "test") })
}

// program says whether the file is part of one, where contexts begin.
func (s source) program() bool { return under(s.pkg, "cmd") || s.tree.Name.Name == "main" }

func under(pkg, dir string) bool { return pkg == dir || strings.HasPrefix(pkg, dir+"/") }

func (s source) imports() []string {
	var paths []string
	for _, i := range s.tree.Imports {
		if p, err := strconv.Unquote(i.Path.Value); err == nil {
			paths = append(paths, p)
		}
	}
	return paths
}

func (s source) at(n ast.Node, format string, args ...any) string {
	return s.set.Position(n.Pos()).String() + ": " + fmt.Sprintf(format, args...)
}

func (s source) whole(format string, args ...any) string {
	return path.Join(s.pkg, s.file) + ": " + fmt.Sprintf(format, args...)
}

// uses finds where the file uses one of the names of a package of the standard
// library, however it calls the package.
func (s source) uses(pkg string, names ...string) []string {
	called := ""
	for _, i := range s.tree.Imports {
		if i.Path.Value != strconv.Quote(pkg) {
			continue
		}
		called = path.Base(pkg)
		if i.Name != nil {
			called = i.Name.Name
		}
		if called == "." {
			return []string{s.at(i, "imports %q with a dot, which hides what is used of it", pkg)}
		}
	}
	var found []string
	ast.Inspect(s.tree, func(n ast.Node) bool {
		if selector, ok := n.(*ast.SelectorExpr); ok && called != "" {
			if x, ok := selector.X.(*ast.Ident); ok && x.Name == called && slices.Contains(names, selector.Sel.Name) {
				found = append(found, s.at(n, "uses %s.%s", pkg, selector.Sel.Name))
			}
		}
		return true
	})
	return found
}

// rules are all rules about one file, by name.
func rules() map[string]func(source) []string {
	return map[string]func(source) []string{
		"imports":      importRule,
		"dependencies": dependencyRule,
		"purity":       purityRule,
		"no init":      initRule,
		"no sleep":     sleepRule,
		"contexts":     contextRule,
		"length":       lengthRule,
	}
}

func importRule(s source) []string {
	if s.test() {
		return nil
	}
	allowed, known := mayImport()[s.pkg]
	if !known {
		return []string{s.whole("package %s has no row in mayImport", s.pkg)}
	}
	var found []string
	for _, p := range s.imports() {
		own, ok := strings.CutPrefix(p, module+"/")
		switch {
		case !ok:
		case forTests(own):
			found = append(found, s.whole("%s is for tests only", own))
		case !slices.Contains(allowed, own):
			found = append(found, s.whole("%s may not import %s", s.pkg, own))
		}
	}
	return found
}

func dependencyRule(s source) []string {
	if strings.HasSuffix(s.file, "_test.go") {
		return nil
	}
	var found []string
	for _, p := range s.imports() {
		for dependency, owner := range ownedBy() {
			if under(p, dependency) && !under(s.pkg, owner) {
				found = append(found, s.whole("only %s may import %s", owner, p))
			}
		}
	}
	return found
}

func purityRule(s source) []string {
	if s.test() || !slices.Contains(pure(), s.pkg) && !slices.Contains(pureFiles(), path.Join(s.pkg, s.file)) {
		return nil
	}
	var found []string
	for _, p := range s.imports() {
		if impure(p) {
			found = append(found, s.whole("a pure package may not import %q", p))
		}
	}
	found = append(found, s.uses("time", "Now", "Since", "Until", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Sleep")...)
	ast.Inspect(s.tree, func(n ast.Node) bool {
		switch n.(type) {
		case *ast.GoStmt:
			found = append(found, s.at(n, "a pure package starts no goroutine"))
		case *ast.SelectStmt, *ast.SendStmt:
			found = append(found, s.at(n, "a pure package has no channels"))
		}
		return true
	})
	return found
}

// impure says whether a package of the standard library reaches out of the
// program, or brings chance into it.
func impure(p string) bool {
	if p == "net/netip" || p == "net/url" {
		return false
	}
	for _, dir := range []string{"os", "net", "math/rand", "crypto/rand", "syscall", "log", "io/ioutil", "runtime", "sync", "unsafe"} {
		if under(p, dir) {
			return true
		}
	}
	return false
}

func initRule(s source) []string {
	var found []string
	for _, d := range s.tree.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			found = append(found, s.at(f, "init runs without being called"))
		}
	}
	return found
}

func sleepRule(s source) []string {
	if s.test() || s.program() {
		return nil
	}
	return s.uses("time", "Sleep")
}

func contextRule(s source) []string {
	if s.test() || s.program() {
		return nil
	}
	return s.uses("context", "Background", "TODO")
}

func lengthRule(s source) []string {
	if s.lines <= maxLines {
		return nil
	}
	return []string{s.whole("%d lines, want %d at the most", s.lines, maxLines)}
}

// sources are all Go files of the module.
func sources(t *testing.T) []source {
	t.Helper()
	root := filepath.Join("..", "..")
	var all []source
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && file != root && (name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")) {
			return fs.SkipDir
		}
		if d.IsDir() || filepath.Ext(name) != ".go" {
			return nil
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		pkg, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		s, err := parse(filepath.ToSlash(pkg), name, text)
		all = append(all, s)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestArchitecture(t *testing.T) {
	all := sources(t)
	for _, name := range slices.Sorted(maps.Keys(rules())) {
		t.Run(name, func(t *testing.T) {
			for _, s := range all {
				for _, problem := range rules()[name](s) {
					t.Error(problem)
				}
			}
		})
	}
	t.Run("every row is a package", func(t *testing.T) {
		there := map[string]bool{}
		for _, s := range all {
			there[s.pkg] = true
		}
		for pkg := range mayImport() {
			if !there[pkg] {
				t.Errorf("mayImport has a row for %s, which has no files", pkg)
			}
		}
	})
}

// Each rule is shown to fail where it should, and only there.
func TestArchitectureRulesCanFail(t *testing.T) {
	const own = `"` + module + `/`
	for _, c := range []struct {
		name, rule, pkg, file, text string
		// want is a part of the one problem; empty for none.
		want string
	}{
		{"a leaf knows nobody", "imports", "autoscale", "a.go", `import ` + own + `supervisor/state"`, "autoscale may not import supervisor/state"},
		{"an allowed arrow", "imports", "supervisor/plan", "a.go", `import ` + own + `autoscale"`, ""},
		{"an arrow the other way", "imports", "supervisor/state", "a.go", `import ` + own + `supervisor/plan"`, "supervisor/state may not import supervisor/plan"},
		{"tests may", "imports", "supervisor/state", "a_test.go", `import ` + own + `supervisor/plan"`, ""},
		{"packages for tests may", "imports", "raftstore/rafttest", "a.go", `import ` + own + `raftstore"`, ""},
		{"nobody else knows those", "imports", "supervisor", "a.go", `import ` + own + `raftstore/rafttest"`, "is for tests only"},
		{"a new package needs a row", "imports", "supervisor/utils", "a.go", ``, "no row in mayImport"},

		{"a stranger imports Docker's client", "dependencies", "supervisor/agent", "a.go", `import "github.com/docker/docker/client"`, "only supervisor/engine may import"},
		{"its owner", "dependencies", "supervisor/engine", "a.go", `import "github.com/docker/docker/client"`, ""},
		{"its owner's tests", "dependencies", "supervisor/engine/enginetest", "a.go", `import "github.com/docker/docker/client"`, ""},
		{"another package for tests", "dependencies", "supervisor/agent/agenttest", "a.go", `import "github.com/docker/docker/client"`, "only supervisor/engine may import"},
		{"a name that begins alike", "dependencies", "supervisor/compose", "a.go", `import "github.com/docker/go-units"`, ""},
		{"raft elsewhere", "dependencies", "supervisor", "a.go", `import "github.com/hashicorp/raft"`, "only raftstore may import"},
		{"gopsutil elsewhere", "dependencies", "supervisor", "a.go", `import "github.com/shirou/gopsutil/v3/cpu"`, "only supervisor/sample may import"},
		{"certmagic elsewhere", "dependencies", "supervisor", "a.go", `import "github.com/caddyserver/certmagic"`, "only supervisor/certs may import"},
		{"YAML elsewhere", "dependencies", "cmd/supervisord", "a.go", `import "go.yaml.in/yaml/v4"`, "only supervisor/compose may import"},
		{"Prometheus elsewhere", "dependencies", "supervisor", "a.go", `import "github.com/prometheus/client_golang/prometheus"`, "only supervisor/api may import"},

		{"a clock", "purity", "autoscale", "a.go", `import "time"; var x = time.Now()`, "uses time.Now"},
		{"a clock as a value", "purity", "autoscale", "a.go", `import "time"; var x = time.Now`, "uses time.Now"},
		{"a clock by another name", "purity", "autoscale", "a.go", `import t "time"; var x = t.Since(t.Time{})`, "uses time.Since"},
		{"a clock by a dot", "purity", "autoscale", "a.go", `import . "time"; var x = Now()`, "with a dot"},
		{"durations are fine", "purity", "autoscale", "a.go", `import "time"; const x = time.Second`, ""},
		{"a clock where it may be", "purity", "supervisor/agent", "a.go", `import "time"; var x = time.Now()`, ""},
		{"a clock in a test", "purity", "autoscale", "a_test.go", `import "time"; var x = time.Now()`, ""},
		{"a timer", "purity", "supervisor/plan", "a.go", `import "time"; var x = time.NewTimer(1)`, "uses time.NewTimer"},
		{"a file", "purity", "supervisor/state", "a.go", `import "os"`, `may not import "os"`},
		{"a process", "purity", "lbconfig", "a.go", `import "os/exec"`, `may not import "os/exec"`},
		{"a connection", "purity", "lbconfig", "a.go", `import "net/http"`, `may not import "net/http"`},
		{"an address is a value", "purity", "lbconfig", "a.go", `import "net/netip"`, ""},
		{"dice", "purity", "supervisor/plan", "a.go", `import "math/rand/v2"`, `may not import "math/rand/v2"`},
		{"good dice", "purity", "supervisor/state", "a.go", `import "crypto/rand"`, `may not import "crypto/rand"`},
		{"a goroutine", "purity", "autoscale", "a.go", `func f() { go f() }`, "starts no goroutine"},
		{"a channel", "purity", "autoscale", "a.go", `func f(c chan int) { c <- 1 }`, "has no channels"},
		{"nginx's process may have all", "purity", "lbconfig/nginx", "a.go", `import "os/exec"; func f() { go f() }`, ""},

		{"init", "no init", "supervisor", "a.go", `func init() {}`, "init runs without being called"},
		{"init in a test", "no init", "supervisor", "a_test.go", `func init() {}`, "init runs without being called"},
		{"a method of that name", "no init", "supervisor", "a.go", `type t struct{}; func (t) init() {}`, ""},

		{"a sleep", "no sleep", "supervisor", "a.go", `import "time"; func f() { time.Sleep(1) }`, "uses time.Sleep"},
		{"a sleep in a test", "no sleep", "supervisor", "a_test.go", `import "time"; func f() { time.Sleep(1) }`, ""},
		{"a context from nowhere", "contexts", "supervisor", "a.go", `import "context"; var x = context.Background()`, "uses context.Background"},
		{"a context to be done", "contexts", "supervisor/engine", "a.go", `import "context"; var x = context.TODO()`, "uses context.TODO"},
		{"a context in a command", "contexts", "cmd/supervisord", "a.go", `import "context"; var x = context.Background()`, ""},

		{"a long file", "length", "supervisor", "a.go", strings.Repeat("\n", maxLines), "502 lines, want 500 at the most"},
		{"a long test", "length", "supervisor", "a_test.go", strings.Repeat("\n", maxLines), "502 lines, want 500 at the most"},
		{"a file as long as may be", "length", "supervisor", "a.go", strings.Repeat("\n", maxLines-2), ""},
	} {
		t.Run(c.rule+": "+c.name, func(t *testing.T) {
			s, err := parse(c.pkg, c.file, []byte("package x\n"+c.text+"\n"))
			if err != nil {
				t.Fatal(err)
			}
			problems := rules()[c.rule](s)
			if c.want == "" && len(problems) > 0 || c.want != "" && (len(problems) != 1 || !strings.Contains(problems[0], c.want)) {
				t.Errorf("problems %q, want one about %q", problems, c.want)
			}
		})
	}
}
