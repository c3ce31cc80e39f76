package peer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/supervisord/supervisord/supervisor/state"
)

// Client calls other daemons by their address. It is safe for concurrent use.
// Its errors are a NotLeaderError, a RemoteError, or say why there was no
// answer; then the call may have been carried out or not.
type Client struct{ http *http.Client }

// NewClient makes a client of connections to be trusted: what it dials for
// "http://ADDRESS" must be the cluster's.
func NewClient(c *http.Client) *Client { return &Client{http: c} }

// Propose is Node's.
func (c *Client) Propose(ctx context.Context, address string, proposal []byte) (Receipt, error) {
	return call[Receipt](ctx, c, address, pathPropose, json.RawMessage(proposal))
}

// Report is Node's.
func (c *Client) Report(ctx context.Context, address string, r Report) error {
	_, err := call[none](ctx, c, address, pathReport, r)
	return err
}

// Recall is Node's.
func (c *Client) Recall(ctx context.Context, address string, span time.Duration) (Memory, error) {
	return call[Memory](ctx, c, address, pathRecall, recallBody{span})
}

// Round is Node's.
func (c *Client) Round(ctx context.Context, address string) (Round, error) {
	return call[Round](ctx, c, address, pathRound, none{})
}

// Standing is Node's.
func (c *Client) Standing(ctx context.Context, address string) (Standing, error) {
	return call[Standing](ctx, c, address, pathStanding, none{})
}

// Enter is Node's.
func (c *Client) Enter(ctx context.Context, address string, e Entry) error {
	_, err := call[none](ctx, c, address, pathEnter, e)
	return err
}

// Points is Node's.
func (c *Client) Points(ctx context.Context, address string, q PointsQuery) ([]Point, error) {
	return call[[]Point](ctx, c, address, pathPoints, q)
}

// Tasks is Node's.
func (c *Client) Tasks(ctx context.Context, address string) ([]TaskProgress, error) {
	return call[[]TaskProgress](ctx, c, address, pathTasks, none{})
}

// Fetch is Node's.
func (c *Client) Fetch(ctx context.Context, address, image string) error {
	_, err := call[none](ctx, c, address, pathFetch, fetchBody{image})
	return err
}

// Candidates is Node's.
func (c *Client) Candidates(ctx context.Context, address string, named map[string]string) ([]state.Candidate, error) {
	return call[[]state.Candidate](ctx, c, address, pathCandidates, candidatesBody{named})
}

// Ping asks whether the daemon at an address answers at all.
func (c *Client) Ping(ctx context.Context, address string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+pathPing, nil)
	if err != nil {
		return fmt.Errorf("ping %s: %w", address, err)
	}
	response, err := c.http.Do(r)
	if err != nil {
		return fmt.Errorf("ping %s: %w", address, err)
	}
	return response.Body.Close()
}

func (c *Client) post(ctx context.Context, address, path string, body any) (*http.Response, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", path, err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+path, bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", path, err)
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(r)
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", address, err)
	}
	return response, nil
}

func call[Out any](ctx context.Context, c *Client, address, path string, body any) (out Out, err error) {
	response, err := c.post(ctx, address, path, body)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	if response.StatusCode != http.StatusOK {
		return out, &RemoteError{address, "answers " + response.Status + "; it may run another version"}
	}
	var a answer[Out]
	if err := json.NewDecoder(io.LimitReader(response.Body, 4*maxBody)).Decode(&a); err != nil {
		return out, fmt.Errorf("read the answer of %s: %w", address, err)
	}
	switch {
	case a.NotLeader:
		return out, &NotLeaderError{a.Leader}
	case a.Error != "":
		return out, &RemoteError{address, a.Error}
	}
	return a.Value, nil
}
