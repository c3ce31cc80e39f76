package dbtest

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// entry is what the image does with its first argument, as the databases' own
// images do: with no data yet it makes some, with a server that listens on no
// port, and then becomes the server.
const entry = `#!/bin/sh
set -eu
as() { user=$1; shift; setpriv --reuid="$user" --regid="$user" --clear-groups "$@"; }
mkdir -p /run/mysqld /var/run/postgresql /data; chmod 1777 /tmp /run/mysqld /var/run/postgresql
case $1 in
postgres)
	shift; PGDATA=${PGDATA:-/data}; export PGDATA
	chown 70 "$PGDATA"; chmod 700 "$PGDATA"
	if [ ! -e "$PGDATA/made" ]; then
		rm -rf "$PGDATA"/*
		printf %s "$POSTGRES_PASSWORD" >/tmp/pw; chmod 644 /tmp/pw
		as 70 initdb -D "$PGDATA" -U "${POSTGRES_USER:-postgres}" --pwfile=/tmp/pw --auth=scram-sha-256 -E UTF8 --locale=C.UTF-8 --no-sync >/dev/null
		rm /tmp/pw
		as 70 pg_ctl -D "$PGDATA" -w -o "-c listen_addresses=''" start >/dev/null
		PGPASSWORD=$POSTGRES_PASSWORD createdb -U "${POSTGRES_USER:-postgres}" "${POSTGRES_DB:-app}"
		sleep 1
		as 70 pg_ctl -D "$PGDATA" -w -m fast stop >/dev/null
		touch "$PGDATA/made"
	fi
	exec setpriv --reuid=70 --regid=70 --clear-groups postgres -D "$PGDATA" -c listen_addresses='*' -c jit=off "$@";;
mariadbd)
	shift
	if [ ! -d /data/mysql ]; then
		cp -r /seed/mysql/. /data/; chown -R 71 /data
	fi
	printf "SET PASSWORD FOR root@localhost = PASSWORD('%s');\nCREATE DATABASE IF NOT EXISTS %s;\nCREATE USER IF NOT EXISTS app@'%%' IDENTIFIED BY 'not used';\n" "$MARIADB_ROOT_PASSWORD" "$MARIADB_DATABASE" >/tmp/init.sql; chmod 644 /tmp/init.sql
	set -- "$@" --init-file=/tmp/init.sql
	exec setpriv --reuid=71 --regid=71 --clear-groups mariadbd --no-defaults --datadir=/data --socket=/run/mysqld/mysqld.sock --pid-file=/tmp/mariadb.pid \
		--innodb-log-file-size=16M --innodb-buffer-pool-size=64M --bind-address=0.0.0.0 "$@";;
redis-server) cd /data; exec "$@";;
esac
exec "$@"
`

// programs are those that the image has, with all that they need.
func programs() []string {
	return []string{
		"/bin/dash", "/bin/cat", "/bin/mkdir", "/bin/chown", "/bin/chmod", "/bin/cp", "/bin/rm", "/bin/sleep", "/bin/grep", "/usr/bin/head", "/usr/bin/tail",
		"/usr/bin/seq", "/usr/bin/tr", "/usr/bin/id", "/usr/bin/zstd", "/usr/bin/stat", "/bin/sync", "/bin/touch", "/usr/bin/sort", "/usr/bin/nice", "/usr/bin/ionice", "/usr/bin/setpriv", "/usr/bin/env", "/bin/ls",
		"/usr/sbin/mariadbd", "/usr/bin/mariadb", "/usr/bin/mariadb-dump", "/usr/bin/redis-server", "/usr/bin/redis-cli",
	}
}

// Image builds an image with PostgreSQL, MariaDB and Redis from what is on this
// machine, and returns its name. It is kept for the next test.
func Image(t testing.TB) string {
	t.Helper()
	skip(t)
	pg := filepath.Dir(filepath.Dir(Program(t, "/usr/lib/postgresql/*/bin/postgres")))
	Program(t, "/usr/sbin/mariadbd")
	Program(t, "/usr/bin/redis-server")
	sum := sha256.New()
	_, _ = io.WriteString(sum, entry)
	for _, name := range append(programs(), pg+"/bin/postgres") {
		info, err := os.Stat(name)
		if err != nil {
			t.Skip(err)
		}
		fmt.Fprint(sum, name, info.Size(), info.ModTime())
	}
	tag := "supervisord-test-databases:" + hex.EncodeToString(sum.Sum(nil))[:12]
	if exec.CommandContext(t.Context(), "docker", "image", "inspect", tag).Run() == nil {
		return tag
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(pack(t, w, pg)) }()
	cmd := exec.CommandContext(t.Context(), "docker", "import",
		"-c", `ENTRYPOINT ["/entry"]`, "-c", "VOLUME /data", "-c", "ENV PATH="+pg+"/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "-", tag)
	cmd.Stdin = r
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("docker import: %v\n%s", err, out)
	}
	return tag
}

// packer writes files of this machine into a tar, each once.
type packer struct {
	*tar.Writer
	seen map[string]bool
}

func pack(t testing.TB, to io.Writer, pg string) (err error) {
	p := packer{tar.NewWriter(to), map[string]bool{}}
	defer func() { err = errors.Join(err, p.Close()) }()
	for name, text := range map[string]string{
		"/entry":      entry,
		"/etc/passwd": "root:x:0:0::/:/bin/sh\npostgres:x:70:70::/data:/bin/sh\nmysql:x:71:71::/data:/bin/sh\n",
		"/etc/group":  "root:x:0:\npostgres:x:70:\nmysql:x:71:\n",
	} {
		if err := p.put(name, 0o755, []byte(text)); err != nil {
			return err
		}
	}
	if err := p.WriteHeader(&tar.Header{Name: "tmp/", Mode: 0o1777, Typeflag: tar.TypeDir}); err != nil {
		return err
	}
	shared, err := filepath.Glob(pg + "/lib/*.so")
	if err != nil {
		return err
	}
	binaries, err := filepath.Glob(pg + "/bin/*")
	if err != nil {
		return err
	}
	for _, name := range slices.Concat(programs(), shared, binaries) {
		if err := p.program(t, name); err != nil {
			return err
		}
	}
	if err := p.link("/bin/sh", "dash"); err != nil {
		return err
	}
	for _, dir := range []string{"/usr/share/postgresql/" + filepath.Base(pg), "/usr/share/mysql", "/usr/share/zoneinfo/Etc", "/usr/lib/locale/C.utf8"} {
		if err := p.tree(dir, dir); err != nil {
			return err
		}
	}
	seed, err := os.MkdirTemp("/tmp", "dbtest-seed-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(seed)) }()
	cmd := exec.CommandContext(t.Context(), Program(t, "/usr/bin/mariadb-install-db"), "--no-defaults", "--user=root", "--datadir="+seed, "--skip-test-db", "--auth-root-authentication-method=normal", "--innodb-log-file-size=16M")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mariadb-install-db: %w: %s", err, out)
	}
	return p.tree(seed, "/seed/mysql")
}

func (p packer) put(name string, mode int64, text []byte) error {
	if p.seen[name] {
		return nil
	}
	p.seen[name] = true
	if err := p.WriteHeader(&tar.Header{Name: strings.TrimPrefix(name, "/"), Mode: mode, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err := p.Write(text)
	return err
}

func (p packer) link(name, to string) error {
	return p.WriteHeader(&tar.Header{Name: strings.TrimPrefix(name, "/"), Linkname: to, Typeflag: tar.TypeSymlink, Mode: 0o777})
}

// program adds a program, or a library, and what the loader finds for it.
func (p packer) program(t testing.TB, name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if err := p.put(name, 0o755, text); err != nil {
		return err
	}
	if !bytes.HasPrefix(text, []byte("\x7fELF")) {
		return nil
	}
	out, err := exec.CommandContext(t.Context(), "ldd", name).Output()
	if err != nil {
		return fmt.Errorf("ldd %s: %w", name, err)
	}
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		for _, word := range strings.Fields(lines.Text()) {
			if !strings.HasPrefix(word, "/") {
				continue
			}
			lib, err := os.ReadFile(word)
			if err != nil {
				return err
			}
			if err := p.put(word, 0o755, lib); err != nil {
				return err
			}
		}
	}
	return lines.Err()
}

// tree adds a directory under another name.
func (p packer) tree(dir, as string) error {
	return filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			// A link to what is not installed.
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		return p.put(filepath.Join(as, rel), 0o644, text)
	})
}
