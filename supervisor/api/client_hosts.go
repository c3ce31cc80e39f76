package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Host asks for one machine of the cluster; ErrNotFound where there is none.
func (c *Client) Host(ctx context.Context, name string) (Host, error) {
	return get[Host](ctx, c, "v1/hosts/"+url.PathEscape(name), nil)
}

// DrainHost takes a host out of placement and moves what can move. Like all
// changing calls it fails with ErrNotFound, ErrRefused, ErrForbidden or
// ErrUnavailable.
func (c *Client) DrainHost(ctx context.Context, name string) (Host, error) {
	return send[Host](ctx, c, http.MethodPost, "v1/hosts/"+url.PathEscape(name)+"/drain", struct{}{})
}

// ResumeHost gives a drained host back.
func (c *Client) ResumeHost(ctx context.Context, name string) (Host, error) {
	return send[Host](ctx, c, http.MethodPost, "v1/hosts/"+url.PathEscape(name)+"/resume", struct{}{})
}

// RemoveHost takes a host out of the cluster for good.
func (c *Client) RemoveHost(ctx context.Context, name string, how RemoveHost) (Host, error) {
	return send[Host](ctx, c, http.MethodPost, "v1/hosts/"+url.PathEscape(name)+"/remove", how)
}

// Tokens asks which tokens there are.
func (c *Client) Tokens(ctx context.Context) (Tokens, error) {
	return get[Tokens](ctx, c, "v1/tokens", nil)
}

// CreateToken makes a token; 0 is for a day.
func (c *Client) CreateToken(ctx context.Context, ttl time.Duration) (NewToken, error) {
	return send[NewToken](ctx, c, http.MethodPost, "v1/tokens", CreateToken{TTLSeconds: ttl.Seconds()})
}

// RevokeToken ends a token.
func (c *Client) RevokeToken(ctx context.Context, id string) (Tokens, error) {
	return send[Tokens](ctx, c, http.MethodDelete, "v1/tokens/"+url.PathEscape(id), struct{}{})
}

// send makes a changing call.
func send[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
	var zero T
	data, err := json.Marshal(body)
	if err != nil {
		return zero, fmt.Errorf("request %s: %w", path, err)
	}
	r, err := c.request(ctx, method, path, nil, bytes.NewReader(data))
	if err != nil {
		return zero, err
	}
	r.Header.Set("Content-Type", "application/json")
	return exchange[T](c, r)
}
