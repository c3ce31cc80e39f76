// Package dump takes consistent dumps of PostgreSQL, MySQL, MariaDB and Redis,
// and restores them, through the databases' own tools, which are run where the
// database is.
//
// Credentials are taken from the environment that the database itself was
// started with, or from the files named there, by a shell beside the tool; they
// pass to the tool in its environment and come into no argument and no answer.
// Where a tool's own words are quoted in an error, they come from its standard
// error.
//
// A restore never writes into a database that is in use. It loads a new one
// beside it, and Swap exchanges the two in one step when that one is whole.
package dump

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/supervisord/supervisord/backup"
)

// Execer runs commands where a database is.
type Execer interface {
	// Exec runs a command until it ends and returns its exit code. A command
	// without Stdin gets one that stays open and empty as long as it runs, and
	// is closed when the context ends or this program does.
	Exec(ctx context.Context, c Command) (exitCode int, err error)
}

// Command is one to be run. Nil writers discard.
type Command struct {
	Argv []string
	// Env is added to the environment there, as NAME=value.
	Env            []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Engine is one kind of database.
type Engine interface {
	backup.Dumper
	// Ready says whether the database takes commands.
	Ready(ctx context.Context) error
	// Load restores a dump into a new database of that name; what has the name
	// already is an error.
	Load(ctx context.Context, dump io.Reader, c backup.Content, into string) error
	// Count returns the tables of a database that Load has made.
	Count(ctx context.Context, database string) ([]backup.Table, error)
	// Swap puts a loaded database in the place of the one in use, in one step,
	// and says in words where the old one is.
	Swap(ctx context.Context, loaded string, c backup.Content) (old string, err error)
	// Drop removes what Load has made, whole or not. What is not there has been
	// dropped.
	Drop(ctx context.Context, database string) error
}

// Options say which database it is.
type Options struct {
	// Engine is "postgres", "mysql", "mariadb" or "redis".
	Engine string
	// Database is its name where the environment does not say it.
	Database string
	// Password is what the environment there does not have; it is given to the
	// commands in theirs.
	Password string
	// Config is the path, there, of a configuration file of Redis that has its
	// password.
	Config string
	// LowPriority lets everything else go first.
	LowPriority bool
}

// ErrUnknownEngine: there are no tools for it here.
var ErrUnknownEngine = errors.New("unknown database engine")

// New returns the tools of an engine.
func New(o Options, at Execer) (Engine, error) {
	t := tools{Options: o, at: at}
	switch o.Engine {
	case "postgres":
		return &postgres{t}, nil
	case "mysql", "mariadb":
		return &mysql{t}, nil
	case "redis":
		return &redis{t}, nil
	}
	return nil, fmt.Errorf("%w %q", ErrUnknownEngine, o.Engine)
}

// RestorePrefix begins the names of databases that restores load into.
const RestorePrefix = "svd_restore_"

// Compare says how restored tables differ from those of a dump; nil where they
// do not.
func Compare(want, got []backup.Table) error {
	have := map[string]int64{}
	for _, t := range got {
		have[t.Name] = t.Rows
	}
	var wrong []string
	for _, t := range want {
		rows, ok := have[t.Name]
		switch {
		case !ok && t.Rows-t.Expiring > 0:
			wrong = append(wrong, t.Name+" is missing")
		case rows > t.Rows || rows < t.Rows-t.Expiring:
			wrong = append(wrong, fmt.Sprintf("%s has %d rows, the dump had %d", t.Name, rows, t.Rows))
		}
	}
	const most = 5
	if n := len(wrong); n > most {
		wrong = append(wrong[:most], fmt.Sprintf("and %d more", n-most))
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%w: %s", ErrMismatch, strings.Join(wrong, "; "))
	}
	return nil
}

// ToolError: a tool was run, and says that it has failed.
type ToolError struct {
	Code int
	// Words is the end of what it said.
	Words string
}

func (e *ToolError) Error() string {
	if e.Words == "" {
		return fmt.Sprintf("the tool ended with exit code %d", e.Code)
	}
	return fmt.Sprintf("the tool ended with exit code %d: %s", e.Code, e.Words)
}

// ErrNotMade: the database to load into could not be made; what has its name is
// not ours.
var ErrNotMade = errors.New("the database to restore into cannot be made")

// ErrMismatch: what was restored is not what was dumped.
var ErrMismatch = errors.New("what was restored is not what was dumped")

// tools run scripts.
type tools struct {
	Options
	at Execer
}

// maxWords bounds what is kept of a tool's own words.
const maxWords = 2000

// words keeps the end of what a tool says.
type words struct{ text []byte }

func (w *words) Write(p []byte) (int, error) {
	w.text = append(w.text, p...)
	if over := len(w.text) - maxWords; over > 0 {
		w.text = append(w.text[:0], w.text[over:]...)
	}
	return len(p), nil
}

func (w *words) String() string { return strings.TrimSpace(strings.ToValidUTF8(string(w.text), "?")) }

// run runs a script with arguments, which must not be secret.
func (t tools) run(ctx context.Context, script string, stdin io.Reader, stdout io.Writer, args ...string) error {
	said := &words{}
	c := Command{
		Argv: append([]string{"sh", "-c", script, "sh"}, args...), Stdin: stdin, Stdout: stdout, Stderr: said,
		Env: []string{"LC_ALL=C"},
	}
	if t.Password != "" {
		c.Env = append(c.Env, "SVD_PASSWORD="+t.Password)
	}
	if t.Config != "" {
		c.Env = append(c.Env, "SVD_CONFIG="+t.Config)
	}
	if t.LowPriority {
		c.Env = append(c.Env, "SVD_NICE=1")
	}
	code, err := t.at.Exec(ctx, c)
	switch {
	case err != nil:
		return err
	case code != 0:
		return &ToolError{code, said.String()}
	}
	return nil
}

// ask runs a script that reads SQL or nothing, and returns what it prints.
func (t tools) ask(ctx context.Context, script, stdin string, args ...string) (string, error) {
	var out bytes.Buffer
	err := t.run(ctx, script, strings.NewReader(stdin), &out, args...)
	return strings.TrimSpace(out.String()), err
}

// guard runs a command so that it ends when the caller is gone: the caller
// holds standard input open and writes nothing to it. The engine's exec cannot
// be ended in any other way, and a dump that nobody reads would hold its
// snapshot of the database.
//
// It waits for all that it has started. What is left behind becomes a child of
// the container's first process, the database: PostgreSQL before 18 takes an
// unknown child that a signal has ended for one of its own that crashed, and
// ends all connections.
const guard = `
guard() {
	exec 3<&0
	nice=
	if [ -n "${SVD_NICE:-}" ]; then
		command -v nice >/dev/null 2>&1 && nice="nice -n 19"
		command -v ionice >/dev/null 2>&1 && nice="$nice ionice -c 3"
	fi
	$nice "$@" </dev/null 3<&- &
	tool=$!
	( read -r line <&3; kill "$tool" 2>/dev/null ) >/dev/null 2>&1 &
	watch=$!
	wait "$tool"
	code=$?
	kill "$watch" 2>/dev/null
	wait "$watch" 2>/dev/null
	return "$code"
}
`

// secret sets a variable from the first of others that is there, or from the
// file that NAME_FILE names, as the databases' images read them.
const secret = `
first() {
	for name in "$@"; do
		eval "value=\${$name:-}; file=\${${name}_FILE:-}"
		if [ -n "$value" ]; then printf %s "$value"; return; fi
		if [ -n "$file" ] && [ -r "$file" ]; then cat "$file"; return; fi
	done
}
`
