package api

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
)

// Takeover asks what others run of the spec's services, and of which containers
// that are named with their services; ErrNotFound where one is nowhere.
func (c *Client) Takeover(ctx context.Context, named map[string]string) (Takeover, error) {
	q := url.Values{}
	for _, name := range slices.Sorted(maps.Keys(named)) {
		q.Add("container", name+"="+named[name])
	}
	return get[Takeover](ctx, c, "v1/takeover", q)
}

// Adopt makes containers instances.
func (c *Client) Adopt(ctx context.Context, a Adopt) (Takeover, error) {
	return send[Takeover](ctx, c, http.MethodPost, "v1/takeover/adopt", a)
}

// FinishAdoption lets what was adopted be replaced by our own. It may take as
// long as the images take to be pulled.
func (c *Client) FinishAdoption(ctx context.Context, d Decide) (Takeover, error) {
	return patiently[Takeover](ctx, c, "v1/takeover/finish", d)
}

// ReturnAdopted gives adopted containers back.
func (c *Client) ReturnAdopted(ctx context.Context, d Decide) (Takeover, error) {
	return send[Takeover](ctx, c, http.MethodPost, "v1/takeover/return", d)
}

// IgnoreForeign lets services start beside what others run of them.
func (c *Client) IgnoreForeign(ctx context.Context, d Decide) (Takeover, error) {
	return send[Takeover](ctx, c, http.MethodPost, "v1/takeover/ignore", d)
}
