package compose

import (
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/supervisord/supervisord/supervisor/state"
)

// enginePort is the port that each database engine listens on by default.
func enginePort(engine string) int {
	return map[string]int{"postgres": 5432, "mysql": 3306, "redis": 6379}[engine]
}

// guessEngine knows the engine by the last part of an image's name:
// "docker.io/library/postgres:16" is postgres. Empty for all others.
func guessEngine(image string) string {
	name, _, _ := strings.Cut(image, "@")
	name = name[strings.LastIndex(name, "/")+1:]
	name, _, _ = strings.Cut(name, ":")
	switch name {
	case "postgres", "postgresql", "postgis", "pgvector", "timescaledb", "timescaledb-ha":
		return "postgres"
	case "mysql", "mysql-server", "mariadb", "percona", "percona-server":
		return "mysql"
	case "redis", "redis-stack-server", "valkey":
		return "redis"
	}
	return ""
}

// readDatabase reads x-database: false, or {engine: postgres, port: 5432}. A
// nil v leaves it to the image.
func readDatabase(r *report, p place, v *value, service, image string) *state.Database {
	if v == nil {
		if engine := guessEngine(image); engine != "" {
			return &state.Database{Name: service, Engine: engine, Port: enginePort(engine)}
		}
		return nil
	}
	if v.kind == scalarKind {
		if v.text != "false" {
			r.at(p, v, v.written(), "false, or a mapping with engine and port")
		}
		return nil
	}
	db := state.Database{Name: service}
	rules{closed: true, known: map[string]shape{
		"engine": into(&db.Engine, readEngine),
		"port":   into(&db.Port, readPort),
	}}.check(r, p, v)
	if v.kind != mapKind {
		return nil
	}
	if v.get("engine") == nil {
		if db.Engine = guessEngine(image); db.Engine == "" {
			r.path(p.child("engine"), "missing", wantEngine)
		}
	}
	if db.Port == 0 {
		db.Port = enginePort(db.Engine)
	}
	return &db
}

const wantEngine = "postgres or mysql or redis"

func readEngine(r *report, p place, v *value) string {
	oneOf("postgres", "mysql", "redis")(r, p, v)
	return v.text
}

// readSupervisor reads x-supervisor of the top level:
//
//	nginx: {container: edge, listen: ["80", "127.0.0.1:8080"], listen_tls: ["443"]}
//	databases: [{name: billing, engine: postgres, address: "10.0.0.5:5432", backup: {…}}]
//	backup: {age_identity_file: /etc/supervisord/age.key}
func readSupervisor(r *report, p place, v *value) (state.Nginx, []state.Database, state.BackupSettings) {
	var nginx state.Nginx
	var databases []state.Database
	var settings state.BackupSettings
	if v == nil {
		return nginx, nil, settings
	}
	rules{closed: true, known: map[string]shape{
		"nginx": rules{closed: true, known: map[string]shape{
			"container": into(&nginx.Container, readContainerName),
			"listen":    readListen(&nginx.Listen),

			"listen_tls": readListen(&nginx.ListenTLS),
		}}.check,
		"tls":       anything, // readTLS checks it
		"databases": readDatabases(&databases),
		"backup":    readBackupSettings(&settings),
	}}.check(r, p, v)
	return nginx, databases, settings
}

var containerPattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$`)

func readContainerName(r *report, p place, v *value) string {
	str(r, p, v)
	if !r.isBad(p) && !containerPattern.MatchString(v.text) {
		r.at(p, v, v.written(), "the name of a container")
	}
	return v.text
}

func readListen(at *[]string) shape {
	return func(r *report, p place, v *value) {
		each(func(r *report, p place, v *value) {
			if v.kind != scalarKind || !isListen(v.text) {
				r.wrongKind(p, v, `a port such as "80" or an address such as "127.0.0.1:8080"`)
				return
			}
			*at = append(*at, v.text)
		})(r, p, v)
		if v.kind == listKind && len(v.items) == 0 {
			r.at(p, v, "an empty list is given", "at least one address, or no listen key")
		}
	}
}

func isListen(s string) bool {
	if n, err := strconv.ParseUint(strings.TrimPrefix(s, "*:"), 10, 16); err == nil {
		return n > 0
	}
	a, err := netip.ParseAddrPort(s)
	return err == nil && a.Port() > 0 && a.Addr().Zone() == ""
}

func readDatabases(at *[]state.Database) shape {
	return each(func(r *report, p place, v *value) {
		var db state.Database
		rules{closed: true, known: map[string]shape{
			"name":    into(&db.Name, readDatabaseName),
			"engine":  into(&db.Engine, readEngine),
			"address": into(&db.Address, readAddress),
			"backup":  anything, // readOutside checks it
		}}.check(r, p, v)
		for _, name := range []string{"name", "engine", "address"} {
			if v.kind == mapKind && v.get(name) == nil {
				r.path(p.child(name), "missing", "name, engine and address")
			}
		}
		if x := v.get("backup"); x != nil {
			readOutside(r, p.child("backup"), x, &db)
		}
		*at = append(*at, db)
	})
}

func readDatabaseName(r *report, p place, v *value) string {
	if v.kind != scalarKind || !servicePattern.MatchString(v.text) {
		r.wrongKind(p, v, "at most 50 lower-case letters, digits and inner hyphens")
	}
	return v.text
}

var hostPattern = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9.:-]*[a-zA-Z0-9])?$`)

func readAddress(r *report, p place, v *value) string {
	host, port, err := net.SplitHostPort(v.text)
	if v.kind != scalarKind || err != nil || !hostPattern.MatchString(host) || !validRange(port) || strings.Contains(port, "-") {
		r.wrongKind(p, v, "host:port")
	}
	return v.text
}
