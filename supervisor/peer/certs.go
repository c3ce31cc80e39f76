package peer

import (
	"context"
	"log/slog"
	"net/http"
)

// Rehearsal is what came of an order that was for trial, by host name: "" where
// it went well.
type Rehearsal map[string]string

type keyBody struct {
	ID string `json:"id"`
}

type rehearseBody struct {
	Names []string `json:"names"`
}

// serveCerts serves what hosts ask each other about certificates.
func serveCerts(mux *http.ServeMux, log *slog.Logger, n Node) {
	serve(mux, log, pathKey, func(r *http.Request, body keyBody) ([]byte, error) { return n.Key(r.Context(), body.ID) })
	serve(mux, log, pathRehearse, func(r *http.Request, body rehearseBody) (Rehearsal, error) {
		return n.Rehearse(r.Context(), body.Names)
	})
}

// Key is Node's.
func (c *Client) Key(ctx context.Context, address, id string) ([]byte, error) {
	return call[[]byte](ctx, c, address, pathKey, keyBody{id})
}

// Rehearse is Node's.
func (c *Client) Rehearse(ctx context.Context, address string, names []string) (Rehearsal, error) {
	return call[Rehearsal](ctx, c, address, pathRehearse, rehearseBody{names})
}
