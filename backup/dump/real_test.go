package dump_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/supervisord/supervisord/backup"
	"github.com/supervisord/supervisord/backup/dump"
	"github.com/supervisord/supervisord/backup/dump/dbtest"
)

// kind is a real database with something in it.
type kind struct {
	name string
	db   *dbtest.DB
	at   dump.Engine
	// fill puts rows in; read gives a text that changes with its content;
	// spoil changes it.
	fill, spoil func()
	read        func() string
	want        []backup.Table
}

func engineOf(t testing.TB, name string, db *dbtest.DB) dump.Engine {
	t.Helper()
	e, err := dump.New(dump.Options{Engine: name}, dump.Host{Env: db.Env})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func postgres(t *testing.T) kind {
	db := dbtest.Postgres(t)
	sql := func(text string) string {
		return db.Must(text, "psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-d", "shop")
	}
	return kind{
		name: "postgres", db: db, at: engineOf(t, "postgres", db),
		fill: func() {
			sql(`CREATE ROLE "the app" LOGIN; CREATE SCHEMA "od""d"; CREATE TABLE orders (id serial PRIMARY KEY, note text);
			INSERT INTO orders (note) SELECT E'a\tb\\.\nCOPY "x" FROM stdin;' || n FROM generate_series(1, 5000) n;
			CREATE TABLE "od""d"."T. t" (a int, b bytea); INSERT INTO "od""d"."T. t" SELECT n, decode(repeat('00ff', 50), 'hex') FROM generate_series(1, 70) n;
			CREATE TABLE empty (x int); ALTER TABLE orders OWNER TO "the app"; GRANT SELECT ON empty TO "the app";
			CREATE TABLE parts (k int, v text) PARTITION BY RANGE (k); CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
			INSERT INTO parts SELECT n, 'v' FROM generate_series(0, 99) n; CREATE VIEW v AS SELECT count(*) FROM orders;
			CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT '
COPY "public"."fake" FROM nowhere;
' $$; ALTER DATABASE shop SET work_mem TO '5MB'; ALTER DATABASE shop SET search_path TO public, "od""d"; GRANT CONNECT ON DATABASE shop TO "the app";`)
		},
		spoil: func() { sql("DELETE FROM orders WHERE id > 10") },
		read: func() string {
			return sql(`SELECT count(*), md5(string_agg(note, '' ORDER BY id)) FROM orders; SELECT count(*) FROM "od""d"."T. t"; SELECT * FROM v;
			SELECT tableowner FROM pg_tables WHERE tablename = 'orders'; SHOW work_mem; SHOW search_path; SELECT has_database_privilege('the app', current_database(), 'CONNECT');`)
		},
		want: []backup.Table{{Name: `od"d.T. t`, Rows: 70}, {Name: "public.empty"}, {Name: "public.orders", Rows: 5000}, {Name: "public.parts_1", Rows: 100}},
	}
}

func mariadb(t *testing.T) kind {
	db := dbtest.MariaDB(t)
	sql := func(text string) string {
		return db.Must(text, db.Dir+"/bin/mariadb", "-uroot", "-BN", "--raw", "shop")
	}
	return kind{
		name: "mariadb", db: db, at: engineOf(t, "mariadb", db),
		fill: func() {
			sql("CREATE TABLE orders (id int PRIMARY KEY AUTO_INCREMENT, note text, raw blob) ENGINE=InnoDB;" +
				`INSERT INTO orders (note, raw) SELECT CONCAT('a),(1,\'b\\\\', CHAR(10), 'INSERT INTO ` + "`x`" + ` VALUES (', seq), UNHEX('00FF275C') FROM seq_1_to_5000;` +
				"CREATE TABLE `od``d t` (a int, b varchar(10)) ENGINE=InnoDB; INSERT INTO `od``d t` VALUES (1,NULL),(2,''),(3,')');" +
				"CREATE TABLE empty (x int) ENGINE=InnoDB; CREATE TABLE child (id int, FOREIGN KEY (id) REFERENCES orders(id)) ENGINE=InnoDB; INSERT INTO child VALUES (1),(2);")
		},
		spoil: func() { sql("DELETE FROM orders WHERE id > 10") },
		read: func() string {
			return sql("SELECT COUNT(*), SUM(CRC32(note)), SUM(CRC32(raw)) FROM orders; SELECT COUNT(*) FROM `od``d t`;")
		},
		want: []backup.Table{{Name: "child", Rows: 2}, {Name: "od`d t", Rows: 3}, {Name: "orders", Rows: 5000}},
	}
}

func redisKind(t *testing.T) kind {
	db := dbtest.Redis(t)
	cli := db.Dir + "/bin/redis-cli"
	run := func(args ...string) string {
		return db.Must("", append([]string{cli, "--no-auth-warning"}, args...)...)
	}
	return kind{
		name: "redis", db: db, at: engineOf(t, "redis", db),
		fill: func() {
			run("EVAL", "for i=1,5000 do redis.call('SET', 'key:'..i, string.rep('v', i % 50)..i) end; redis.call('SET', 'soon', 'x', 'EX', 1000)", "0")
			run("-n", "3", "HSET", "h", "f", "v")
		},
		spoil: func() { run("DEL", "key:1"); run("SET", "more", "x") },
		read: func() string {
			return run("DBSIZE") + " " + run("GET", "key:1") + " " + run("GET", "key:4999") + " " + run("-n", "3", "HGET", "h", "f") + " " + run("EXISTS", "more")
		},
		want: []backup.Table{{Name: "db0", Rows: 5001, Expiring: 1}},
	}
}

// TestRealDatabases starts each database once, for all that is tried on it.
func TestRealDatabases(t *testing.T) {
	for name, start := range map[string]func(*testing.T) kind{"postgres": postgres, "mariadb": mariadb, "redis": redisKind} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := start(t)
			k.fill()
			for _, part := range []struct {
				name string
				f    func(*testing.T, kind)
			}{
				{"dump and restore", dumpAndRestore},
				{"a dump that is cut", cutDumps},
				{"canceled", func(t *testing.T, k kind) { cutOff(t, k, "context") }},
				{"killed", func(t *testing.T, k kind) { cutOff(t, k, "database") }},
			} {
				t.Run(part.name, func(t *testing.T) { part.f(t, k) })
			}
		})
	}
}

func sorted(tables []backup.Table) []backup.Table {
	out := append([]backup.Table(nil), tables...)
	for i := range out {
		for j := i; j > 0 && out[j].Name < out[j-1].Name; j-- {
			out[j], out[j-1] = out[j-1], out[j]
		}
	}
	return out
}

// dumpAndRestore: a real database is dumped, spoiled, restored and is as it was; what was
// loaded in between is gone.
func dumpAndRestore(t *testing.T, k kind) {
	ctx := t.Context()
	if err := k.at.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	before := k.read()
	var text bytes.Buffer
	c, err := k.at.Dump(ctx, &text)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text.String(), dbtest.Password) || strings.Contains(fmt.Sprint(c), dbtest.Password) {
		t.Error("the password is in the dump")
	}
	if diff := cmp.Diff(k.want, sorted(c.Tables)); diff != "" {
		t.Errorf("tables (-want +got):\n%s", diff)
	}
	const into = dump.RestorePrefix + "42"
	if err := k.at.Load(ctx, bytes.NewReader(text.Bytes()), c, into); err != nil {
		t.Fatal(err)
	}
	got, err := k.at.Count(ctx, into)
	if err == nil {
		err = dump.Compare(c.Tables, got)
	}
	if err != nil {
		t.Fatal(err)
	}
	k.spoil()
	if k.read() == before {
		t.Fatal("nothing was spoiled")
	}
	old, err := k.at.Swap(ctx, into, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(old)
	if after := k.read(); after != before {
		t.Errorf("after the restore:\n%s\nbefore:\n%s", after, before)
	}
	for range 2 {
		if err := k.at.Drop(ctx, into); err != nil {
			t.Error(err)
		}
	}
	if after := k.read(); after != before {
		t.Errorf("after the clean-up:\n%s\nbefore:\n%s", after, before)
	}
}

// cutDumps: a dump that is cut off anywhere is not taken for whole, neither by its end
// mark nor by what is counted after it was loaded.
func cutDumps(t *testing.T, k kind) {
	ctx := t.Context()
	var text bytes.Buffer
	c, err := k.at.Dump(ctx, &text)
	if err != nil {
		t.Fatal(err)
	}
	for _, share := range []int{3, 60, 95} {
		into := fmt.Sprintf("%s%d", dump.RestorePrefix, share)
		err := k.at.Load(ctx, bytes.NewReader(text.Bytes()[:text.Len()*share/100]), c, into)
		if err == nil {
			var got []backup.Table
			if got, err = k.at.Count(ctx, into); err == nil {
				err = dump.Compare(c.Tables, got)
			}
		}
		if err == nil {
			t.Errorf("%d %% of the dump are taken for whole", share)
		}
		if err := k.at.Drop(ctx, into); err != nil {
			t.Error(err)
		}
	}
}

// slow takes a dump as slowly as the test wants it.
type slow struct{ pass, came chan struct{} }

func (s slow) Write(p []byte) (int, error) {
	select {
	case s.came <- struct{}{}:
	default:
	}
	<-s.pass
	return len(p), nil
}

// cutOff: when the context ends, or the database dies, in the midst of a dump, there is
// an error and no tool goes on.
func cutOff(t *testing.T, k kind, how string) {
	for range 4 {
		switch k.name {
		case "postgres":
			k.db.Must("INSERT INTO orders (note) SELECT md5(random()::text) || note FROM orders", "psql", "-q", "-d", "shop")
		case "mariadb":
			k.db.Must("INSERT INTO orders (note) SELECT note FROM orders;", k.db.Dir+"/bin/mariadb", "-uroot", "shop")
		}
	}
	if k.name == "redis" {
		k.db.Must("", k.db.Dir+"/bin/redis-cli", "--no-auth-warning", "EVAL", "for i=1,60000 do redis.call('SET', 'big:'..i, string.rep(tostring(i), 40)) end", "0")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := slow{make(chan struct{}), make(chan struct{}, 1)}
	done := make(chan error, 1)
	go func() {
		_, err := k.at.Dump(ctx, s)
		done <- err
	}()
	<-s.came
	if how == "context" {
		cancel()
	} else {
		k.db.End(syscall.SIGKILL)
	}
	close(s.pass)
	select {
	case err := <-done:
		if err == nil {
			t.Error("the dump is taken for whole")
		}
		if how == "context" && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("the dump goes on")
	}
}

// What the tools refuse is said in their words, without secrets.
func TestRealTroubleIsSaid(t *testing.T) {
	db := dbtest.Postgres(t)
	e, err := dump.New(dump.Options{Engine: "postgres", Database: "nowhere"}, dump.Host{Env: db.Env})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Dump(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), `database "nowhere" does not exist`) {
		t.Errorf("error %v", err)
	}
	env := []string{}
	for _, v := range db.Env {
		if !strings.Contains(v, "PASSWORD") {
			env = append(env, v)
		}
	}
	e, _ = dump.New(dump.Options{Engine: "postgres", Password: "wrong one"}, dump.Host{Env: env})
	if _, err := e.Dump(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), "password authentication failed") || strings.Contains(err.Error(), "wrong one") {
		t.Errorf("error %v", err)
	}
}
