package peer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/supervisor/peer"
	"github.com/supervisord/supervisord/supervisor/state"
)

// node answers with what it was asked.
type node struct {
	err     error
	entered peer.Entry
	report  peer.Report
}

func (n *node) Propose(_ context.Context, proposal []byte) (peer.Receipt, error) {
	return peer.Receipt{Index: 7, Refused: []string{"", string(proposal)}}, n.err
}
func (n *node) Report(_ context.Context, r peer.Report) error { n.report = r; return n.err }
func (n *node) Recall(_ context.Context, span time.Duration) (peer.Memory, error) {
	return peer.Memory{Frames: map[string][]autoscale.Frame{"web": {{Counted: int(span / time.Second)}}}}, n.err
}
func (n *node) Round(context.Context) (peer.Round, error) {
	return peer.Round{Pending: map[string]string{"web": "no room"}}, n.err
}
func (n *node) Standing(context.Context) (peer.Standing, error) {
	return peer.Standing{LastIndex: 3, LastTerm: 2, Commit: 1, LastContact: time.Second}, n.err
}
func (n *node) Enter(_ context.Context, e peer.Entry) error { n.entered = e; return n.err }
func (n *node) Points(_ context.Context, q peer.PointsQuery) ([]peer.Point, error) {
	return []peer.Point{{At: q.From, CPU: .5}}, n.err
}
func (n *node) Tasks(context.Context) ([]peer.TaskProgress, error) {
	return []peer.TaskProgress{{ID: "db.7", Dumped: 5}}, n.err
}
func (n *node) Fetch(_ context.Context, image string) error {
	if image != "acme/web:2" {
		return fmt.Errorf("no image %s", image)
	}
	return nil
}

func (n *node) Image(_ context.Context, image string, to io.Writer) error {
	if image != "acme/web:2" {
		return fmt.Errorf("no image %s", image)
	}
	_, err := to.Write(make([]byte, 3<<20))
	return err
}

func (n *node) Key(_ context.Context, id string) ([]byte, error) {
	return []byte("key " + id), n.err
}

func (n *node) Rehearse(_ context.Context, names []string) (peer.Rehearsal, error) {
	return peer.Rehearsal{names[0]: "", names[1]: "no such name"}, n.err
}

func (n *node) Logs(_ context.Context, q peer.LogQuery, stdout, stderr io.Writer) error {
	_, err := io.WriteString(stdout, strings.Repeat("o", q.Tail))
	_, err2 := io.WriteString(stderr, "e")
	return errors.Join(err, err2, n.err)
}

func serve(t *testing.T, n *node) (c *peer.Client, address string) {
	s := httptest.NewServer(peer.Handler(n, func(*http.Request) string { return "me" }, slog.New(slog.DiscardHandler)))
	t.Cleanup(s.Close)
	return peer.NewClient(s.Client()), s.Listener.Addr().String()
}

func TestWhatIsAskedIsAnswered(t *testing.T) {
	n := &node{}
	c, at := serve(t, n)
	ctx := t.Context()
	now := time.Now().UTC().Truncate(time.Second)

	receipt, err := c.Propose(ctx, at, []byte(`{"a":1}`))
	check(t, "propose", err, peer.Receipt{Index: 7, Refused: []string{"", `{"a":1}`}}, receipt)
	report := peer.Report{Host: "a", At: now, Samples: []autoscale.Sample{{Instance: "web-1.1", At: now, CPU: .5}}}
	check(t, "report", c.Report(ctx, at, report), report, n.report)
	memory, err := c.Recall(ctx, at, 9*time.Second)
	check(t, "recall", err, 9, memory.Frames["web"][0].Counted)
	round, err := c.Round(ctx, at)
	check(t, "round", err, map[string]string{"web": "no room"}, round.Pending)
	standing, err := c.Standing(ctx, at)
	check(t, "standing", err, peer.Standing{LastIndex: 3, LastTerm: 2, Commit: 1, LastContact: time.Second}, standing)
	check(t, "enter", c.Enter(ctx, at, peer.Entry{Server: "me", Address: "x"}), peer.Entry{Server: "me", Address: "x"}, n.entered)
	points, err := c.Points(ctx, at, peer.PointsQuery{From: now})
	check(t, "points", err, []peer.Point{{At: now, CPU: .5}}, points)
	check(t, "ping", c.Ping(ctx, at), 0, 0)
}

func check[T any](t *testing.T, what string, err error, want, got T) {
	t.Helper()
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%s: %v (-want +got):\n%s", what, err, diff)
	}
}

func TestAServerEntersInItsOwnNameOnly(t *testing.T) {
	n := &node{}
	c, at := serve(t, n)
	if err := c.Enter(t.Context(), at, peer.Entry{Server: "somebody else"}); err == nil || n.entered.Server != "" {
		t.Errorf("entered as %q: %v", n.entered.Server, err)
	}
}

func TestAnErrorSaysWhoseItIs(t *testing.T) {
	n := &node{err: errors.New("the disk is full")}
	c, at := serve(t, n)
	_, err := c.Propose(t.Context(), at, []byte(`{}`))
	if e, ok := errors.AsType[*peer.RemoteError](err); !ok || e.Address != at || e.Message != "the disk is full" {
		t.Errorf("got %v", err)
	}
	n.err = &peer.NotLeaderError{Address: "10.0.0.2:7946"}
	_, err = c.Propose(t.Context(), at, []byte(`{}`))
	if e, ok := errors.AsType[*peer.NotLeaderError](err); !ok || e.Address != "10.0.0.2:7946" || !errors.Is(err, peer.ErrNotLeader) {
		t.Errorf("got %v", err)
	}
}

func TestALogComesWholeAndItsEndIsKnown(t *testing.T) {
	const size = 3 << 20
	n := &node{}
	c, at := serve(t, n)
	var out, errs bytes.Buffer
	if tasks, err := c.Tasks(t.Context(), at); err != nil || len(tasks) != 1 || tasks[0].Dumped != 5 {
		t.Errorf("tasks %v: %v", tasks, err)
	}
	if err := c.Fetch(t.Context(), at, "acme/web:2"); err != nil {
		t.Error(err)
	}
	if err := c.Fetch(t.Context(), at, "acme/web:3"); err == nil || !strings.Contains(err.Error(), "no image acme/web:3") {
		t.Errorf("an image that is nowhere: %v", err)
	}
	var archive bytes.Buffer
	if err := c.Image(t.Context(), at, "acme/web:2", &archive); err != nil || archive.Len() != 3<<20 {
		t.Errorf("%d bytes of an image: %v", archive.Len(), err)
	}
	if err := c.Image(t.Context(), at, "acme/web:3", io.Discard); err == nil || !strings.Contains(err.Error(), "no image acme/web:3") {
		t.Errorf("an image that is not there: %v", err)
	}
	if err := c.Logs(t.Context(), at, peer.LogQuery{Tail: size}, &out, &errs); err != nil || out.Len() != size || errs.String() != "e" {
		t.Errorf("%d bytes and %q: %v", out.Len(), errs.String(), err)
	}
	n.err = errors.New("no such container")
	if err := c.Logs(t.Context(), at, peer.LogQuery{}, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "no such container") {
		t.Errorf("got %v", err)
	}
}

func TestALogThatIsCutOffIsAnError(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte{1, 0, 0, 0, 3, 'a'})
	}))
	defer s.Close()
	err := peer.NewClient(s.Client()).Logs(t.Context(), s.Listener.Addr().String(), peer.LogQuery{}, io.Discard, io.Discard)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
}

func (n *node) Candidates(_ context.Context, named map[string]string) ([]state.Candidate, error) {
	return []state.Candidate{{Adoptee: state.Adoptee{Name: "shop_web_1", Service: named["shop_web_1"]}}}, n.err
}

func TestCandidatesComeFromTheHostThatIsAsked(t *testing.T) {
	c, at := serve(t, &node{})
	got, err := c.Candidates(t.Context(), at, map[string]string{"shop_web_1": "web"})
	check(t, "candidates", err, []state.Candidate{{Adoptee: state.Adoptee{Name: "shop_web_1", Service: "web"}}}, got)
}
