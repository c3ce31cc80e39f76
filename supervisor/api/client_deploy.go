package api

import (
	"context"
	"net/http"
	"strconv"
)

// Deploy puts a compose file in force. It may take as long as the images take
// to be pulled.
func (c *Client) Deploy(ctx context.Context, d Deploy) (Deployed, error) {
	return patiently[Deployed](ctx, c, "v1/deploy", d)
}

// patiently makes a changing call that may take long until it is answered.
func patiently[T any](ctx context.Context, c *Client, path string, body any) (T, error) {
	patient := *c
	if transport, ok := c.http.Transport.(*http.Transport); ok {
		transport = transport.Clone()
		transport.ResponseHeaderTimeout = 0
		defer transport.CloseIdleConnections()
		patient.http = &http.Client{Transport: transport}
	}
	return send[T](ctx, &patient, http.MethodPost, path, body)
}

// Rollback brings back an earlier revision.
func (c *Client) Rollback(ctx context.Context, r Rollback) (Deployed, error) {
	return send[Deployed](ctx, c, http.MethodPost, "v1/rollback", r)
}

// Canary asks for the canary, or the last one; ErrNotFound where there has been
// none.
func (c *Client) Canary(ctx context.Context) (Canary, error) {
	return get[Canary](ctx, c, "v1/canary", nil)
}

// Promote puts the canary in force.
func (c *Client) Promote(ctx context.Context, e EndCanary) (Deployed, error) {
	return send[Deployed](ctx, c, http.MethodPost, "v1/canary/promote", e)
}

// Abort takes the canary out.
func (c *Client) Abort(ctx context.Context, e EndCanary) (Canary, error) {
	return send[Canary](ctx, c, http.MethodPost, "v1/canary/abort", e)
}

// Releases asks for the revisions that are kept, the newest first.
func (c *Client) Releases(ctx context.Context) (Releases, error) {
	return get[Releases](ctx, c, "v1/revisions", nil)
}

// Release asks for one revision, with its text; ErrNotFound where it is not
// kept.
func (c *Client) Release(ctx context.Context, revision uint64) (Release, error) {
	return get[Release](ctx, c, "v1/revisions/"+strconv.FormatUint(revision, 10), nil)
}
