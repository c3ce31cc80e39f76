package rig_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/supervisord/supervisord/backup/dump/dbtest"
	"github.com/supervisord/supervisord/cmd/supervisord/internal/rig"
	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/state"
)

// dbPassword must be nowhere but in the compose file and the containers.
const dbPassword = "correct-horse-battery"

// vault is a site with databases that are backed up.
type vault struct {
	*site
	dir, s3 string
	key     *age.X25519Identity
	bucket  *httptest.Server
	objects gofakes3.Backend
}

// vaultFile is the compose file: services of one image, by the kind of their
// database, each with keys of x-backup.
func (v *vault) file(image, keys string) string {
	var b strings.Builder
	b.WriteString("services:\n")
	for _, s := range []struct{ name, engine, command, environment string }{
		{"pg", "postgres", "[postgres, -c, fsync=off]", "POSTGRES_USER: boss, POSTGRES_DB: shop, POSTGRES_PASSWORD: " + dbPassword},
		{"maria", "mariadb", "[mariadbd]", "MARIADB_DATABASE: shop, MARIADB_ROOT_PASSWORD: " + dbPassword},
		{"cache", "redis", "[redis-server, --requirepass, " + dbPassword + ", --save, '']", "X: y"},
	} {
		fmt.Fprintf(&b, "  %s:\n    image: %s\n    command: %s\n    environment: {%s}\n    volumes: [%s:/data]\n    x-database: {engine: %s}\n    x-backup: {engine: %s, to: [%s, \"s3://bucket/p\"]%s}\n",
			s.name, image, s.command, s.environment, s.name, strings.Replace(s.engine, "mariadb", "mysql", 1), s.engine, v.dir, keys)
	}
	fmt.Fprintf(&b, "volumes: {pg: {}, maria: {}, cache: {}}\nx-supervisor:\n  backup: {s3: {endpoint: %q, credentials_file: %s}, age_identity_file: %s}\n", v.s3, filepath.Join(v.Dir, "s3"), filepath.Join(v.Dir, "age.key"))
	return b.String()
}

func startVault(t testing.TB, keys string) *vault {
	t.Helper()
	binary, _ := build(t, "-race")
	return startVaultBehind(t, binary, keys, &cutter{})
}

// startVaultBehind starts one whose bucket is behind a network.
func startVaultBehind(t testing.TB, binary, keys string, network *cutter) *vault {
	t.Helper()
	image := dbtest.Image(t)
	mem := s3mem.New()
	if err := mem.CreateBucket("bucket"); err != nil {
		t.Fatal(err)
	}
	network.handler = gofakes3.New(mem, gofakes3.WithLogger(gofakes3.DiscardLog())).Server()
	bucket := httptest.NewServer(network)
	t.Cleanup(bucket.Close)
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	v := &vault{s3: bucket.URL, key: key, bucket: bucket, objects: mem}
	v.site = lay(t, binary, "1s")
	v.dir = filepath.Join(v.Dir, "backups")
	for name, text := range map[string]string{
		"s3": "aws_access_key_id = k\naws_secret_access_key = s\n", "age.key": key.String() + "\n",
	} {
		if err := os.WriteFile(filepath.Join(v.Dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.WriteCompose(v.file(image, strings.ReplaceAll(keys, "KEY", key.Recipient().String()))); err != nil {
		t.Fatal(err)
	}
	if err := v.Start(v.ctx); err != nil {
		t.Fatal(err)
	}
	v.allReady()
	return v
}

func (v *vault) allReady() {
	v.t.Helper()
	v.eventually("databases are ready", func() string {
		all := v.instances()
		for _, i := range all {
			if i.Phase != state.Ready {
				return fmt.Sprintf("%s is %s: %s", i.Name, i.Phase, i.Reason)
			}
		}
		if len(all) != 3 {
			return fmt.Sprintf("%d are there", len(all))
		}
		return ""
	})
}

// sh runs a script in a database's container.
func (v *vault) sh(service, script string) string {
	v.t.Helper()
	out, err := rig.Docker(v.ctx, "exec", service+"-1", "sh", "-c", script)
	if err != nil {
		v.t.Fatal(err)
	}
	return out
}

// fill puts rows into all databases.
func (v *vault) fill(n int) {
	v.t.Helper()
	v.sh("pg", fmt.Sprintf(`PGPASSWORD=$POSTGRES_PASSWORD psql -qU boss shop -c "CREATE TABLE IF NOT EXISTS t (id int, v text); INSERT INTO t SELECT n, md5(n::text) FROM generate_series(1, %d) n"`, n))
	v.sh("maria", fmt.Sprintf(`MYSQL_PWD=$MARIADB_ROOT_PASSWORD mariadb -uroot shop -e "CREATE TABLE IF NOT EXISTS t (id int, v text) ENGINE=InnoDB; INSERT INTO t SELECT seq, MD5(seq) FROM seq_1_to_%d"`, n))
	v.sh("cache", fmt.Sprintf(`REDISCLI_AUTH=%s redis-cli EVAL "for i=1,%d do redis.call('SET', 'k'..i, string.rep('v', 30)..i) end" 0`, dbPassword, n))
}

func (v *vault) count(service string) string {
	v.t.Helper()
	switch service {
	case "pg":
		return v.sh("pg", `PGPASSWORD=$POSTGRES_PASSWORD psql -qAtU boss shop -c "SELECT count(*) FROM t"`)
	case "maria":
		return v.sh("maria", `MYSQL_PWD=$MARIADB_ROOT_PASSWORD mariadb -BNuroot shop -e "SELECT COUNT(*) FROM t"`)
	}
	return v.sh("cache", `REDISCLI_AUTH=`+dbPassword+` redis-cli DBSIZE`)
}

func (v *vault) spoil(service string) {
	v.sh(service, map[string]string{
		"pg":    `PGPASSWORD=$POSTGRES_PASSWORD psql -qU boss shop -c "DELETE FROM t WHERE id > 5"`,
		"maria": `MYSQL_PWD=$MARIADB_ROOT_PASSWORD mariadb -uroot shop -e "DELETE FROM t WHERE id > 5"`,
		"cache": `REDISCLI_AUTH=` + dbPassword + ` redis-cli DEL k1 k2 k3`,
	}[service])
}

// runs runs a command and wants it to end with a code and to say something.
func (v *vault) runs(code int, says string, args ...string) string {
	v.t.Helper()
	out, got := v.command("", args...)
	v.t.Logf("%v:\n%s", args, out)
	if got != code || !strings.Contains(out, says) {
		v.t.Errorf("%v ended with %d, want %d and %q", args, got, code, says)
	}
	if strings.Contains(out, dbPassword) || strings.Contains(out, v.key.String()) {
		v.t.Errorf("%v shows a secret", args)
	}
	return out
}

func (v *vault) backups(service string) api.Backups {
	v.t.Helper()
	all, err := v.Client.Backups(v.ctx, service)
	if err != nil {
		v.t.Fatal(err)
	}
	return all
}

// known are the ids of all backups.
func (v *vault) known() map[string]bool {
	v.t.Helper()
	ids := map[string]bool{}
	for _, b := range v.backups("").Backups {
		ids[b.ID] = true
	}
	return ids
}

// nothingLeft wants no scratch container, and no file that no backup has.
func (v *vault) nothingLeft() {
	v.t.Helper()
	id := v.cluster()
	v.eventually("nothing is left over", func() string {
		if out, err := rig.Docker(v.ctx, "ps", "-aq", "--filter", "label=io.supervisord.scratch="+id); err != nil || out != "" {
			return fmt.Sprintf("scratch containers %q, %v", out, err)
		}
		known := v.known()
		var left []string
		_ = filepath.WalkDir(v.dir, func(p string, e os.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				id, _, _ := strings.Cut(filepath.Base(p), ".")
				if !known[id] || strings.HasSuffix(p, ".partial") || strings.HasSuffix(p, ".begun") {
					left = append(left, filepath.Base(p))
				}
			}
			return nil
		})
		if len(left) > 0 {
			return fmt.Sprint(left)
		}
		return ""
	})
}

func (v *vault) cluster() string {
	v.t.Helper()
	s, err := v.Client.Status(v.ctx)
	if err != nil {
		v.t.Fatal(err)
	}
	return s.Cluster
}

// TestBackupsOfRealDatabases takes, verifies and restores backups of all three
// in containers, to a directory and to a bucket, encrypted; and deploys with them.
func TestBackupsOfRealDatabases(t *testing.T) {
	t.Parallel()
	v := startVault(t, ", before_deploy: true, encrypt_to: [KEY]")
	v.fill(3000)
	for _, service := range []string{"pg", "maria", "cache"} {
		out := v.runs(0, "", "backup", "now", service, "--json")
		var a api.TaskAnswer
		if err := json.Unmarshal([]byte(out[strings.Index(out, "{"):]), &a); err != nil || a.Record == nil || len(a.Record.Copies) != 2 || a.Record.Partial {
			t.Fatalf("%+v, %v", a, err)
		}
		v.runs(0, "drill: ", "backup", "verify", a.Record.ID)
		before := v.count(service)
		v.spoil(service)
		if v.count(service) == before {
			t.Fatal("nothing was spoiled")
		}
		v.runs(1, "not confirmed", "backup", "restore", a.Record.ID)
		v.runs(0, "restore: ", "backup", "restore", a.Record.ID, "--yes")
		if got := v.count(service); got != before {
			t.Errorf("%s has %q rows after the restore, %q before", service, got, before)
		}
		plain := filepath.Join(v.Dir, service+".dump")
		v.runs(0, "bytes are in", "backup", "restore", a.Record.ID, "--yes", "--to", "file:"+plain)
		if info, err := os.Stat(plain); err != nil || info.Size() != a.Record.DumpSize || info.Mode().Perm() != 0o600 {
			t.Errorf("the plain dump: %v, %v", info, err)
		}
		v.runs(1, "there already", "backup", "restore", a.Record.ID, "--yes", "--to", "file:"+plain)
	}
	pg := v.backups("pg").Services[0]
	if pg.KnownToRestore == nil || pg.KnownToRestore.DrillSeconds <= 0 {
		t.Errorf("status %+v", pg)
	}
	v.runs(0, "are in database look", "backup", "restore", pg.Last.ID, "--yes", "--to", "database:look")
	v.runs(1, "cannot be made", "backup", "restore", pg.Last.ID, "--yes", "--to", "database:look")
	if got := v.sh("pg", `PGPASSWORD=$POSTGRES_PASSWORD psql -qAtU boss look -c "SELECT count(*) FROM t"`); got != "3000" {
		t.Errorf("%q rows beside it", got)
	}
	v.runs(0, "yes, ", "backup", "list")
	v.runs(5, "there is no backup", "backup", "verify", "none")
	v.nothingLeft()
	v.damage(pg.Last.ID)
	v.deployWithData()
}

// damage flips a bit in the copy in the directory, which the next drill finds,
// and then loses the one in the bucket.
func (v *vault) damage(id string) {
	v.t.Helper()
	archive := filepath.Join(v.dir, v.cluster(), "pg", id+".sql.zst.age")
	text, err := os.ReadFile(archive)
	if err != nil {
		v.t.Fatal(err)
	}
	text[len(text)/2] ^= 1
	if err := os.WriteFile(archive, text, 0o600); err != nil {
		v.t.Fatal(err)
	}
	v.runs(0, "from s3://bucket/p", "backup", "verify", id)
	v.event(state.EventDrillFailed, "the copy of "+id+" in "+v.dir+" is no good")
	b := v.backups("pg").Services[0].Last
	if !b.Partial || !b.Restorable {
		v.t.Errorf("after one copy was damaged: %+v", b)
	}
}
