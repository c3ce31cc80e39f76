package api

import (
	"context"
	"net/http"
	"net/url"
)

// Backups asks for the backups of a service, of all with "".
func (c *Client) Backups(ctx context.Context, service string) (Backups, error) {
	q := url.Values{}
	if service != "" {
		q.Set("service", service)
	}
	return get[Backups](ctx, c, "v1/backups", q)
}

// BackUp begins a backup.
func (c *Client) BackUp(ctx context.Context, b BackupNow) (TaskAnswer, error) {
	return send[TaskAnswer](ctx, c, http.MethodPost, "v1/backups", b)
}

// VerifyBackup begins a restore drill of a backup.
func (c *Client) VerifyBackup(ctx context.Context, id string, u BackupUse) (TaskAnswer, error) {
	return send[TaskAnswer](ctx, c, http.MethodPost, "v1/backups/"+url.PathEscape(id)+"/verify", u)
}

// RestoreBackup begins the restore of a backup.
func (c *Client) RestoreBackup(ctx context.Context, id string, u BackupUse) (TaskAnswer, error) {
	return send[TaskAnswer](ctx, c, http.MethodPost, "v1/backups/"+url.PathEscape(id)+"/restore", u)
}

// Task asks how a task stands; ErrNotFound where it is not known, or no more.
func (c *Client) Task(ctx context.Context, id string) (TaskAnswer, error) {
	return get[TaskAnswer](ctx, c, "v1/tasks/"+url.PathEscape(id), nil)
}
