package compose

import (
	"errors"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/supervisord/supervisord/backup"
	"github.com/supervisord/supervisord/backup/sink"
	"github.com/supervisord/supervisord/supervisor/state"
)

const wantBackupEngine = "postgres or mysql or mariadb or redis"

// readBackup reads x-backup of a service:
//
//	engine: postgres            # guessed from the image
//	database: shop              # where the container's environment does not say it
//	schedule: "0 3 * * *"
//	timezone: Europe/Berlin     # UTC by default
//	keep: {last: 3, daily: 7, weekly: 4, monthly: 6}
//	to: [/var/backups/supervisord, "s3://bucket/prefix"]
//	encrypt_to: [age1…]
//	verify: weekly              # or daily, monthly, never, or a cron line
//	before_deploy: true
//	low_priority: true
func readBackup(r *report, p place, v *value, image string) *state.Backup {
	before := len(r.errs)
	b := &state.Backup{}
	keys := backupKeys(b)
	keys["engine"] = into(&b.Engine, readBackupEngine)
	rules{closed: true, known: keys}.check(r, p, v)
	if v.kind != mapKind {
		return nil
	}
	if v.get("engine") == nil {
		if b.Engine = backupEngine(image); b.Engine == "" {
			r.path(p.child("engine"), "missing", wantBackupEngine)
		}
	}
	readTimes(r, p, v, b)
	if len(r.errs) > before {
		return nil
	}
	return b
}

// backupKeys are the keys that all backups have.
func backupKeys(b *state.Backup) map[string]shape {
	return map[string]shape{
		"database":      into(&b.Database, readText),
		"schedule":      str,
		"timezone":      into(&b.Timezone, readTimezone),
		"keep":          readKeep(&b.Keep),
		"to":            readTargets(&b.To),
		"encrypt_to":    readRecipients(&b.EncryptTo),
		"verify":        str,
		"before_deploy": into(&b.BeforeDeploy, readBool),
		"low_priority":  into(&b.LowPriority, readBool),
	}
}

// readTimes reads what the other keys of a backup are needed for.
func readTimes(r *report, p place, v *value, b *state.Backup) {
	if v.get("to") == nil {
		r.path(p.child("to"), "missing", "a list of directories and s3:// URLs")
	}
	if s := v.get("schedule"); s != nil {
		b.Schedule = readSchedule(r, p.child("schedule"), s, b.Timezone)
	}
	if s := v.get("verify"); s != nil {
		b.Verify = readVerify(r, p.child("verify"), s, b.Timezone)
	}
}

// backupEngine guesses the engine from the image. MariaDB's tools have names of
// their own, but speak as MySQL's do.
func backupEngine(image string) string {
	engine := guessEngine(image)
	name, _, _ := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
	if engine == "mysql" && strings.HasPrefix(name, "mariadb") {
		return "mariadb"
	}
	return engine
}

func readBackupEngine(r *report, p place, v *value) string {
	oneOf("postgres", "mysql", "mariadb", "redis")(r, p, v)
	return v.text
}

func readTimezone(r *report, p place, v *value) string {
	str(r, p, v)
	if r.isBad(p) {
		return ""
	}
	if _, err := backup.ParseSchedule("@daily", v.text); err != nil {
		r.at(p, v, v.written(), "the name of a time zone, such as Europe/Berlin")
		return ""
	}
	return v.text
}

const wantSchedule = `a cron line such as "0 3 * * *", @daily or "@every 6h"`

// readSchedule reports what is wrong at its own place in the text, as far as
// the text stands in the file as it is.
func readSchedule(r *report, p place, v *value, zone string) string {
	if r.isBad(p) {
		return ""
	}
	_, err := backup.ParseSchedule(v.text, zone)
	wrong, ok := errors.AsType[*backup.ScheduleError](err)
	switch {
	case err == nil:
		return v.text
	case ok && v.raw == v.text && !strings.Contains(v.text, "\n"):
		col := v.col + wrong.Offset
		if v.style != 0 {
			// The quote.
			col++
		}
		r.add(p, v.line, col, wrong.Problem, wantSchedule)
	default:
		r.at(p, v, v.written()+": "+err.Error(), wantSchedule)
	}
	return ""
}

// readVerify gives the schedule of the drills; empty for never.
func readVerify(r *report, p place, v *value, zone string) string {
	switch v.text {
	case "never":
		return ""
	case "hourly", "daily", "weekly", "monthly":
		return "@" + v.text
	}
	if v.kind == scalarKind && !strings.ContainsAny(v.text, " @") {
		if !r.isBad(p) {
			r.at(p, v, v.written(), "daily, weekly, monthly, never, or a cron line")
		}
		return ""
	}
	return readSchedule(r, p, v, zone)
}

func readKeep(k *backup.Retention) shape {
	count := func(at *int) shape {
		return func(r *report, p place, v *value) { *at = int(readInt(r, p, v, 0, 1000)) }
	}
	return func(r *report, p place, v *value) {
		rules{closed: true, known: map[string]shape{
			"last": count(&k.Last), "daily": count(&k.Daily), "weekly": count(&k.Weekly), "monthly": count(&k.Monthly),
		}}.check(r, p, v)
		if v.kind == mapKind && *k == (backup.Retention{}) && !r.isBad(p) {
			r.key(p, v, "nothing is kept by it", "last, daily, weekly or monthly; without keep all backups stay")
		}
	}
}

const wantTarget = "an absolute directory, or s3://BUCKET/PREFIX"

func readTargets(at *[]string) shape {
	return func(r *report, p place, v *value) {
		seen := map[string]bool{}
		each(func(r *report, p place, v *value) {
			str(r, p, v)
			if r.isBad(p) {
				return
			}
			target := v.text
			switch scheme, _, isURL := strings.Cut(v.text, "://"); {
			case scheme == "s3" && isURL:
				if _, _, err := sink.ParseS3(v.text); err != nil {
					r.at(p, v, v.written(), wantTarget)
				}
				target = strings.TrimRight(v.text, "/")
			case isURL:
				r.at(p, v, quote(scheme)+" is no scheme of a target", wantTarget)
			case !filepath.IsAbs(v.text):
				r.at(p, v, v.written(), wantTarget)
			default:
				target = filepath.Clean(v.text)
			}
			if seen[target] {
				r.at(p, v, v.written()+" is given twice", "")
			}
			seen[target] = true
			*at = append(*at, target)
		})(r, p, v)
		if v.kind == listKind && len(v.items) == 0 {
			r.at(p, v, "an empty list is given", "at least one target")
		}
	}
}

func readRecipients(at *[]string) shape {
	return func(r *report, p place, v *value) {
		each(func(r *report, p place, v *value) {
			str(r, p, v)
			if r.isBad(p) {
				return
			}
			if strings.HasPrefix(strings.ToUpper(v.text), "AGE-SECRET-KEY-") {
				r.at(p, v, "a private key is given, which must not be here", "a public key, age1…; age-keygen -y prints it")
				return
			}
			if _, err := backup.Recipients([]string{v.text}); err != nil {
				r.at(p, v, v.written()+" is no age public key", "age1…, as age-keygen prints it")
				return
			}
			*at = append(*at, v.text)
		})(r, p, v)
		if v.kind == listKind && len(v.items) == 0 {
			r.at(p, v, "an empty list is given", "at least one key, or no encrypt_to")
		}
	}
}

// readBackupSettings reads x-supervisor.backup:
//
//	s3: {endpoint: "https://s3.example.com", region: eu-1, credentials_file: /etc/supervisord/s3}
//	age_identity_file: /etc/supervisord/age.key
func readBackupSettings(b *state.BackupSettings) shape {
	return rules{closed: true, known: map[string]shape{
		"s3": rules{closed: true, known: map[string]shape{
			"endpoint":         into(&b.S3Endpoint, readEndpoint),
			"region":           into(&b.S3Region, readText),
			"credentials_file": into(&b.S3Credentials, readAbsolute),
		}}.check,
		"age_identity_file": into(&b.Identity, readAbsolute),
	}}.check
}

func readAbsolute(r *report, p place, v *value) string {
	str(r, p, v)
	if !r.isBad(p) && !filepath.IsAbs(v.text) {
		r.at(p, v, v.written(), "an absolute path")
	}
	return v.text
}

func readEndpoint(r *report, p place, v *value) string {
	str(r, p, v)
	u, err := url.Parse(v.text)
	if !r.isBad(p) && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "") {
		r.at(p, v, v.written(), "a URL such as https://s3.example.com")
	}
	return v.text
}

// checkBackup says what an operator should know of a backup that is in order.
func (b *builder) checkBackup(p place, s *state.Backup) {
	if s == nil {
		return
	}
	if s.Schedule == "" && !s.BeforeDeploy {
		b.warn(p, "has no schedule: backups are taken by hand only")
	}
	for _, target := range s.To {
		if strings.HasPrefix(target, "s3://") && len(s.EncryptTo) == 0 {
			b.warn(p, "backups in "+target+" are not encrypted; encrypt_to takes an age public key")
		}
	}
	if s.Schedule != "" && s.Verify == "" {
		b.warn(p, "no drill is scheduled (verify): whether the backups restore will not be known")
	}
	if s.Verify != "" && len(s.EncryptTo) > 0 && b.root.get("x-supervisor").get("backup").get("age_identity_file") == nil {
		b.warn(p, "the backups are encrypted, and without x-supervisor.backup.age_identity_file no drill can restore them")
	}
	if sched, err := backup.ParseSchedule(s.Schedule, s.Timezone); err == nil {
		first := sched.Next(time.Unix(0, 0))
		if gap := sched.Next(first).Sub(first); gap < 10*time.Minute {
			b.warn(p.child("schedule"), "every "+gap.String()+" is often for a whole dump")
		}
	}
}
