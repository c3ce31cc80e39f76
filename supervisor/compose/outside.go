package compose

import (
	"regexp"

	"github.com/supervisord/supervisord/supervisor/state"
)

var (
	userPattern = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_.@-]{0,62}$`)
	// clusterHostPattern is for the names of hosts of the cluster.
	clusterHostPattern = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9.-]{0,61}[a-zA-Z0-9])?$`)
)

// readOutside reads the backup key of a database outside: the keys of x-backup
// but for its engine, and how the hosts come to it:
//
//	user: backup
//	database: billing
//	credentials_file: /etc/supervisord/billing.pgpass
//	host: a                     # the first that can, by default
//	verify_image: postgres:16   # of the containers for drills
func readOutside(r *report, p place, v *value, db *state.Database) {
	before := len(r.errs)
	b := &state.Backup{Engine: db.Engine}
	login := state.Login{}
	keys := backupKeys(b)
	keys["user"] = into(&login.User, like(userPattern, "the name of the database's user"))
	keys["credentials_file"] = into(&login.Credentials, readAbsolute)
	keys["host"] = into(&login.Host, like(clusterHostPattern, "the name of a host of the cluster"))
	keys["verify_image"] = into(&login.Image, like(imagePattern, "the name of an image such as postgres:16"))
	rules{closed: true, known: keys}.check(r, p, v)
	if v.kind != mapKind {
		return
	}
	needed := map[string]string{"credentials_file": "the path of a file with the password on the hosts, mode 600"}
	if db.Engine != "redis" {
		needed["user"] = "the user that reads the database"
		needed["database"] = "the name of the database at " + db.Address
	}
	for name, want := range needed {
		if v.get(name) == nil {
			r.path(p.child(name), "missing", want)
		}
	}
	if named := v.get("database"); named != nil && db.Engine == "redis" {
		r.key(p.child("database"), named, "Redis is backed up as a whole", "no database key")
	}
	readTimes(r, p, v, b)
	if b.Verify != "" && login.Image == "" {
		r.key(p.child("verify"), v.get("verify"), "a drill restores into a container, and which image it has is not said", "verify_image next to it, such as postgres:16")
	}
	if len(r.errs) > before {
		return
	}
	db.Backup, db.Login = b, login
}

// like reads a text of a pattern.
func like(pattern *regexp.Regexp, want string) func(*report, place, *value) string {
	return func(r *report, p place, v *value) string {
		str(r, p, v)
		if !r.isBad(p) && !pattern.MatchString(v.text) {
			r.at(p, v, v.written(), want)
		}
		return v.text
	}
}
