package probe

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// daemon is a real database of this test alone.
type daemon struct {
	cmd     *exec.Cmd
	out     *os.File
	stop    syscall.Signal
	stopped bool
}

// account returns a directory and the credential of the account that owns it:
// the first of the names there is when the test runs as root, since databases
// refuse to run as root; otherwise the test's own.
func account(t *testing.T, names ...string) (dir string, as *syscall.Credential) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "probe-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if os.Getuid() != 0 {
		return dir, nil
	}
	for _, name := range append(names, "nobody") {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		if err := os.Chown(dir, int(uid), int(gid)); err != nil {
			t.Fatal(err)
		}
		return dir, &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	t.Skip("needs an unprivileged account, as nobody")
	return "", nil
}

func program(t *testing.T, pattern ...string) string {
	t.Helper()
	for _, p := range pattern {
		if found, _ := filepath.Glob(p); len(found) > 0 {
			return found[len(found)-1]
		}
	}
	t.Skipf("needs a real database: none of %q is here; .ci/install test installs it", pattern)
	return ""
}

func run(t *testing.T, as *syscall.Credential, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.SysProcAttr = dir, &syscall.SysProcAttr{Credential: as}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

func start(t *testing.T, as *syscall.Credential, dir string, stop syscall.Signal, name string, args ...string) *daemon {
	t.Helper()
	out, err := os.Create(filepath.Join(dir, "out.log"))
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{cmd: exec.Command(name, args...), out: out, stop: stop}
	d.cmd.Dir, d.cmd.Stdout, d.cmd.Stderr = dir, out, out
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as, Pdeathsig: syscall.SIGKILL}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.end()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, d.log(t))
		}
		_ = out.Close()
	})
	return d
}

// end stops the database in its own way and waits for it.
func (d *daemon) end() {
	if d.stopped {
		return
	}
	d.stopped = true
	_ = d.cmd.Process.Signal(d.stop)
	_ = d.cmd.Wait()
}

func (d *daemon) log(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile(d.out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// become waits until a check is good.
func become(t *testing.T, c Check) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		_, err := New().Probe(t.Context(), c)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("never good: %v", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func port(t *testing.T, address string) string {
	t.Helper()
	_, p, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestRealPostgres(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a real PostgreSQL")
	}
	server := program(t, "/usr/lib/postgresql/*/bin/postgres", "/usr/local/bin/postgres")
	dir, as := account(t, "postgres")
	data := filepath.Join(dir, "data")
	secret := filepath.Join(dir, "password")
	if err := os.WriteFile(secret, []byte("of the test alone\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, as, dir, filepath.Join(filepath.Dir(server), "initdb"), "-D", data, "-U", "owner", "--auth=scram-sha-256", "--pwfile="+secret, "--no-sync")
	address := closedPort(t)
	pg := Check{Kind: Postgres, Address: address}
	_, err := New().Probe(t.Context(), pg)
	check(t, err, ErrRefused)

	d := start(t, as, dir, syscall.SIGINT, server, "-D", data, "-p", port(t, address), "-h", "127.0.0.1",
		"-k", dir, "-c", "fsync=off", "-c", "max_connections=20", "-c", "listen_addresses=127.0.0.1")
	become(t, pg)
	before := len(d.log(t))
	for range 50 {
		// More than the server has connections: each check ends its own.
		if _, err := New().Probe(t.Context(), pg); err != nil {
			t.Fatal(err)
		}
	}
	if said := d.log(t)[before:]; bytes.Contains(said, []byte("FATAL")) {
		t.Errorf("checks make noise in the server's log:\n%s", said)
	}
	d.end()
	_, err = New().Probe(t.Context(), pg)
	check(t, err, ErrRefused)
}

// A host that is not this machine's loopback is what max_connect_errors
// counts, so the test needs another address of the machine.
func TestRealMariaDBDoesNotBlockItsChecker(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a real MariaDB")
	}
	server := program(t, "/usr/sbin/mariadbd", "/usr/sbin/mysqld")
	installer := program(t, "/usr/bin/mariadb-install-db", "/usr/bin/mysql_install_db")
	ip := outsideIP(t)
	dir, as := account(t, "mysql")
	data := filepath.Join(dir, "data")
	run(t, as, dir, installer, "--no-defaults", "--datadir="+data, "--skip-test-db", "--auth-root-authentication-method=normal", "--innodb-log-file-size=8M")
	p := port(t, closedPort(t))
	db := Check{Kind: MySQL, Address: net.JoinHostPort(ip, p)}
	_, err := New().Probe(t.Context(), db)
	check(t, err, ErrRefused)

	// The server looks its clients' names up unless told not to, and keeps the
	// count of errors only if it does. A host that may not connect at all would
	// be told so in the greeting, so one account for any host is made.
	grant := filepath.Join(dir, "init.sql")
	if err := os.WriteFile(grant, []byte("CREATE USER app@'%' IDENTIFIED BY 'not used';\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	d := start(t, as, dir, syscall.SIGTERM, server, "--no-defaults", "--datadir="+data, "--port="+p, "--bind-address=0.0.0.0",
		"--socket="+filepath.Join(dir, "s"), "--pid-file="+filepath.Join(dir, "pid"), "--init-file="+grant,
		"--max-connect-errors=3", "--max-connections=10", "--innodb-buffer-pool-size=8M", "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0")
	become(t, db)
	for range 30 {
		if _, err := New().Probe(t.Context(), db); err != nil {
			t.Fatal(err)
		}
	}
	// To hang up after the greeting is what makes the server block the host:
	// if it does not, this test proves nothing.
	for range 10 {
		hangUpAfterGreeting(t, db.Address)
	}
	_, err = New().Probe(t.Context(), db)
	check(t, err, ErrBadAnswer, "error 1129", "blocked")
	d.end()
	_, err = New().Probe(t.Context(), db)
	check(t, err, ErrRefused)
}

func outsideIP(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	t.Skip("needs an IPv4 address that is not the loopback's")
	return ""
}

func hangUpAfterGreeting(t *testing.T, address string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, DefaultTimeout)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, _, err := readMySQL(conn); err != nil {
		t.Fatal(err)
	}
}

func TestRealRedis(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a real Redis")
	}
	server := program(t, "/usr/bin/redis-server", "/usr/bin/valkey-server", "/usr/local/bin/redis-server")
	for _, tc := range []struct {
		name  string
		extra []string
	}{
		{"open", nil},
		{"with a password", []string{"--requirepass", "secret of the test"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir, as := account(t, "redis")
			address := closedPort(t)
			c := Check{Kind: Redis, Address: address}
			_, err := New().Probe(t.Context(), c)
			check(t, err, ErrRefused)
			args := append([]string{"--port", port(t, address), "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--maxclients", "5"}, tc.extra...)
			d := start(t, as, dir, syscall.SIGTERM, server, args...)
			become(t, c)
			for range 20 {
				if _, err := New().Probe(t.Context(), c); err != nil {
					t.Fatal(err)
				}
			}
			fill(t, address, 5)
			become(t, c) // At its limit it is alive.
			d.end()
			_, err = New().Probe(t.Context(), c)
			check(t, err, ErrRefused)
		})
	}
}

// fill holds n connections until the test ends.
func fill(t *testing.T, address string, n int) {
	t.Helper()
	for i := range n {
		conn, err := net.DialTimeout("tcp", address, DefaultTimeout)
		if err != nil {
			t.Fatal(fmt.Errorf("connection %d: %w", i, err))
		}
		t.Cleanup(func() { _ = conn.Close() })
		// An answer of any kind shows that the server has taken the connection.
		if _, err := io.WriteString(conn, "PING\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 64)); err != nil {
			t.Fatal(err)
		}
	}
}
