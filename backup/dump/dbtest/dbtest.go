// Package dbtest runs real databases for tests: each in a directory of its own,
// as an account that is not root, ended with the test.
package dbtest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// DB is a running database.
type DB struct {
	// Env lets the tools of backup/dump find it.
	Env []string
	Dir string
	// Address is where it listens; User may do everything, with Password.
	Address, User string

	t    testing.TB
	as   *syscall.Credential
	argv []string
	stop syscall.Signal
	cmd  *exec.Cmd
}

// Password is the administrator's.
const Password = "it's a $ecret"

func skip(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a real database")
	}
}

// Program finds a program; without it the test is skipped.
func Program(t testing.TB, patterns ...string) string {
	t.Helper()
	for _, p := range patterns {
		if found, _ := filepath.Glob(p); len(found) > 0 {
			return found[len(found)-1]
		}
	}
	t.Skipf("none of %q is here; .ci/install test installs it", patterns)
	return ""
}

func newDB(t testing.TB, accounts ...string) *DB {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "dbtest-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	db := &DB{Dir: dir, t: t, stop: syscall.SIGTERM}
	if os.Getuid() != 0 {
		return db
	}
	for _, name := range append(accounts, "nobody") {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		db.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(dir, int(uid), int(gid)); err != nil {
			t.Fatal(err)
		}
		return db
	}
	t.Skip("needs an account that is not root")
	return nil
}

// Run runs a program as the database's account.
func (db *DB) Run(name string, args ...string) {
	db.t.Helper()
	cmd := exec.CommandContext(db.t.Context(), name, args...)
	cmd.Dir, cmd.SysProcAttr = db.Dir, &syscall.SysProcAttr{Credential: db.as}
	if out, err := cmd.CombinedOutput(); err != nil {
		db.t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// Start starts the database, again where it was killed.
func (db *DB) Start() {
	db.t.Helper()
	out, err := os.OpenFile(filepath.Join(db.Dir, "out.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		db.t.Fatal(err)
	}
	defer out.Close()
	db.cmd = exec.Command(db.argv[0], db.argv[1:]...)
	db.cmd.Dir, db.cmd.Stdout, db.cmd.Stderr = db.Dir, out, out
	db.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: db.as, Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := db.cmd.Start(); err != nil {
		db.t.Fatal(err)
	}
	db.t.Cleanup(func() { db.End(db.stop) })
}

// End ends the database with a signal and waits for it.
func (db *DB) End(sig syscall.Signal) {
	if db.cmd == nil {
		return
	}
	pid := db.cmd.Process.Pid
	if sig == syscall.SIGKILL {
		// PostgreSQL has a process for each connection.
		pid = -pid
	}
	_ = syscall.Kill(pid, sig)
	_ = db.cmd.Wait()
	db.cmd = nil
}

// Until waits for a condition.
func Until(t testing.TB, what string, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Shell runs a client with the database's environment and returns what it
// prints.
func (db *DB) Shell(input string, argv ...string) (string, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), db.Env...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", argv[0], err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// Must is Shell for what cannot fail.
func (db *DB) Must(input string, argv ...string) string {
	db.t.Helper()
	out, err := db.Shell(input, argv...)
	if err != nil {
		db.t.Fatal(err)
	}
	return out
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// Postgres is a server with the database "shop" of an administrator with a
// password.
func Postgres(t testing.TB) *DB {
	t.Helper()
	skip(t)
	bin := filepath.Dir(Program(t, "/usr/lib/postgresql/*/bin/postgres"))
	db := newDB(t, "postgres")
	secret := filepath.Join(db.Dir, "password")
	if err := os.WriteFile(secret, []byte(Password+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(db.Dir, "data")
	db.Run(filepath.Join(bin, "initdb"), "-D", data, "-U", "boss", "--auth=scram-sha-256", "--pwfile="+secret, "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")
	port := freePort(t)
	db.argv = []string{filepath.Join(bin, "postgres"), "-D", data, "-p", port, "-h", "127.0.0.1", "-k", db.Dir, "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "autovacuum=off"}
	db.stop = syscall.SIGINT
	db.Address, db.User = "127.0.0.1:"+port, "boss"
	db.Env = []string{"PGHOST=" + db.Dir, "PGPORT=" + port, "POSTGRES_USER=boss", "POSTGRES_PASSWORD_FILE=" + secret, "POSTGRES_DB=shop", "PGUSER=boss", "PGPASSWORD=" + Password}
	db.Start()
	Until(t, "PostgreSQL", func() error { _, err := db.Shell("", "psql", "-d", "postgres", "-c", "SELECT 1"); return err })
	db.Must("", "createdb", "shop")
	return db
}

// wrap puts clients before all others in the PATH that it returns, which find
// this server: the tools look for one at its usual place, which may be
// another's. Those that name another port (-p) get it.
func (db *DB) wrap(where string, clients ...string) string {
	dir := filepath.Join(db.Dir, "bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		db.t.Fatal(err)
	}
	for _, name := range clients {
		whole := Program(db.t, "/usr/bin/"+name)
		script := "#!/bin/sh\nfor a; do [ \"$a\" = -p ] && exec " + whole + " \"$@\"; done\nexec " + whole + " " + where + " \"$@\"\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			db.t.Fatal(err)
		}
	}
	return dir + ":" + os.Getenv("PATH")
}

// MariaDB is a server with the database "shop", and an administrator with a
// password.
func MariaDB(t testing.TB) *DB {
	t.Helper()
	skip(t)
	server := Program(t, "/usr/sbin/mariadbd")
	installer := Program(t, "/usr/bin/mariadb-install-db")
	db := newDB(t, "mysql")
	data := filepath.Join(db.Dir, "data")
	db.Run(installer, "--no-defaults", "--datadir="+data, "--skip-test-db", "--auth-root-authentication-method=normal", "--innodb-log-file-size=8M")
	setUp := filepath.Join(db.Dir, "init.sql")
	quoted := "'" + strings.ReplaceAll(Password, "'", "''") + "'"
	text := "SET PASSWORD FOR root@localhost = PASSWORD(" + quoted + ");\nCREATE DATABASE IF NOT EXISTS shop;\n" +
		"CREATE USER IF NOT EXISTS boss@'%' IDENTIFIED BY " + quoted + ";\nGRANT ALL ON *.* TO boss@'%';\n"
	if err := os.WriteFile(setUp, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	socket, port := filepath.Join(db.Dir, "s"), freePort(t)
	db.Address, db.User = "127.0.0.1:"+port, "boss"
	db.argv = []string{server, "--no-defaults", "--datadir=" + data, "--bind-address=127.0.0.1", "--port=" + port, "--socket=" + socket, "--pid-file=" + filepath.Join(db.Dir, "pid"),
		"--init-file=" + setUp, "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=64M", "--innodb-flush-log-at-trx-commit=0", "--log-bin-trust-function-creators=1", "--event-scheduler=OFF"}
	db.Env = []string{"PATH=" + db.wrap("--socket="+socket, "mariadb", "mariadb-dump"), "MARIADB_ROOT_PASSWORD=" + Password, "MARIADB_DATABASE=shop", "MYSQL_PWD=" + Password}
	db.Start()
	Until(t, "MariaDB", func() error {
		_, err := db.Shell("SELECT 1;", filepath.Join(db.Dir, "bin", "mariadb"), "-uroot", "shop")
		return err
	})
	return db
}

// Redis is a server with a password.
func Redis(t testing.TB) *DB {
	t.Helper()
	skip(t)
	server := Program(t, "/usr/bin/redis-server")
	db := newDB(t, "redis")
	port := freePort(t)
	db.Address = "127.0.0.1:" + port
	db.argv = []string{server, "--port", port, "--bind", "127.0.0.1", "--dir", db.Dir, "--requirepass", Password, "--save", "", "--appendonly", "yes"}
	db.Env = []string{"PATH=" + db.wrap("-p "+port, "redis-cli"), "REDIS_PASSWORD=" + Password, "REDISCLI_AUTH=" + Password, "TMPDIR=" + db.Dir}
	db.Start()
	Until(t, "Redis", func() error {
		out, err := db.Shell("", filepath.Join(db.Dir, "bin", "redis-cli"), "--no-auth-warning", "PING")
		if err == nil && out != "PONG" {
			err = fmt.Errorf("it answers %q", out)
		}
		return err
	})
	return db
}
