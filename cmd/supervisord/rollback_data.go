package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/state"
)

// dataOf finds the backups that belong to the revision that is gone back to,
// one a service, and asks whether to restore them. Where no revision is named
// it settles on one, so that what is asked is what is done.
func (e env) dataOf(ctx context.Context, client *api.Client, body *api.Rollback, yes bool) ([]api.Backup, error) {
	releases, err := client.Releases(ctx)
	if err != nil {
		return nil, err
	}
	if body.Revision == 0 {
		if body.Revision, err = revisionBefore(releases.Releases); err != nil {
			return nil, err
		}
	}
	all, err := client.Backups(ctx, "")
	if err != nil {
		return nil, err
	}
	data := firstAfter(all.Backups, body.Revision)
	if len(data) == 0 {
		return nil, fmt.Errorf("no backup was taken before a deploy after revision %d (x-backup.before_deploy); go back without --with-data, and restore by hand", body.Revision)
	}
	if yes {
		return data, nil
	}
	questions := []string{fmt.Sprintf("Revision %d comes back, and then its data:", body.Revision)}
	for _, b := range data {
		questions = append(questions, restoreQuestion(b, ""))
	}
	return data, e.confirm(strings.Join(questions, "\n"))
}

// revisionBefore is the newest healthy revision before that in force.
func revisionBefore(all []api.Release) (uint64, error) {
	var best uint64
	for _, r := range all {
		if r.InForce {
			for _, older := range all {
				if older.State == state.ReleaseHealthy && older.Revision < r.Revision && older.Revision > best && older.Revision != r.Back {
					best = older.Revision
				}
			}
		}
	}
	if best == 0 {
		return 0, errors.New("there is no healthy revision before the one in force")
	}
	return best, nil
}

// firstAfter are the backups, by service, that were taken for the first deploy
// after a revision.
func firstAfter(all []api.Backup, revision uint64) []api.Backup {
	first := map[string]api.Backup{}
	for _, b := range all {
		old, ok := first[b.Service]
		// Of several attempts at one deploy the last counts.
		if b.Before > revision && (!ok || b.Before < old.Before || b.Before == old.Before && b.Began.After(old.Began)) {
			first[b.Service] = b
		}
	}
	var out []api.Backup
	for _, service := range slices.Sorted(maps.Keys(first)) {
		out = append(out, first[service])
	}
	return out
}

func (e env) restoreAll(ctx context.Context, client *api.Client, data []api.Backup) error {
	for _, b := range data {
		begun, err := client.RestoreBackup(ctx, b.ID, api.BackupUse{By: e.user()})
		if err != nil {
			return fmt.Errorf("restore %s: %w", b.ID, err)
		}
		if err := (&taskWatch{env: e}).through(ctx, client, begun); err != nil {
			return fmt.Errorf("restore %s: %w", b.ID, err)
		}
	}
	return nil
}
