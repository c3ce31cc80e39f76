package rig_test

import (
	"os"
	"strings"

	"github.com/supervisord/supervisord/supervisor/api"
)

// deployWithData takes backups before a deploy, goes back with them, and
// refuses a deploy where there can be none.
func (v *vault) deployWithData() {
	t := v.t
	t.Helper()
	text, err := os.ReadFile(v.Compose())
	if err != nil {
		t.Fatal(err)
	}
	next := strings.Replace(string(text), "environment: {X: y}", "environment: {X: z}", 1)
	v.deploys(next, 0, "revision 2 is healthy")
	var taken []api.Backup
	for _, b := range v.backups("").Backups {
		if b.Before == 2 && !b.Partial {
			taken = append(taken, b)
		}
	}
	if len(taken) != 3 {
		t.Errorf("%d backups were taken before the deploy", len(taken))
	}
	for _, service := range []string{"pg", "maria"} {
		v.spoil(service)
	}
	v.runs(1, "not confirmed", "rollback", "--with-data")
	v.runs(0, "revision 3 is healthy", "rollback", "--with-data", "--yes")
	for _, service := range []string{"pg", "maria", "cache"} {
		if got := v.count(service); got != "3000" {
			t.Errorf("%s has %q rows after the way back", service, got)
		}
	}

	// Neither the directory nor the bucket takes anything any more.
	if err := os.RemoveAll(v.dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(v.dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	v.bucket.Close()
	v.deploys(next, 4, "nothing was changed")
	if s, err := v.Client.Status(v.ctx); err != nil || s.Spec.Revision != 3 {
		t.Errorf("revision %d is in force, %v", s.Spec.Revision, err)
	}
	v.deploys(next, 0, "revision 4 is healthy", "--no-backup")
}
