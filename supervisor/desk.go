package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/raftstore"
	"github.com/supervisord/supervisord/supervisor/peer"
	"github.com/supervisord/supervisord/supervisor/state"
)

// desk answers the other hosts' daemons.
type desk struct {
	*node
	// members changes who is in the log's cluster.
	members interface {
		AddNonvoter(ctx context.Context, id, address string) error
	}
	logs   func(ctx context.Context, q peer.LogQuery, stdout, stderr io.Writer) error
	images images
}

// images are the engine's.
type images interface {
	// Fetch makes an image be on this host.
	Fetch(ctx context.Context, ref string) error
	// Save writes one that is.
	Save(ctx context.Context, ref string, to io.Writer) error
}

var _ peer.Node = desk{}

// notHere is the answer to what only the leader can do.
func (d desk) notHere() error { return &peer.NotLeaderError{Address: d.leaderAddress()} }

// Propose implements peer.Node. The proposer's own clock is not trusted.
func (d desk) Propose(ctx context.Context, proposal []byte) (peer.Receipt, error) {
	p, err := state.Decode(proposal)
	if err != nil {
		return peer.Receipt{}, err
	}
	p.At = d.replica.Now()
	data, err := state.Encode(p)
	if err != nil {
		return peer.Receipt{}, err
	}
	refused, index, err := commit(ctx, d.store, data)
	if errors.Is(err, raftstore.ErrNotLeader) {
		return peer.Receipt{}, d.notHere()
	}
	if err != nil {
		return peer.Receipt{}, err
	}
	return receiptOf(index, refused), nil
}

// Report implements peer.Node.
func (d desk) Report(_ context.Context, r peer.Report) error {
	if !d.store.Stats().IsLeader {
		return d.notHere()
	}
	d.leader.heard(r)
	return nil
}

// Recall implements peer.Node.
func (d desk) Recall(_ context.Context, span time.Duration) (peer.Memory, error) {
	c, _ := d.replica.Current()
	now := time.Now()
	m := peer.Memory{At: now, Frames: map[string][]autoscale.Frame{}}
	for name, s := range c.Spec.Services {
		if s.Autoscale == nil {
			continue
		}
		for _, f := range d.history.Frames(name) {
			if now.Sub(f.At) <= span {
				m.Frames[name] = append(m.Frames[name], f)
			}
		}
	}
	return m, nil
}

// Round implements peer.Node.
func (d desk) Round(context.Context) (peer.Round, error) {
	if !d.store.Stats().IsLeader {
		return peer.Round{}, d.notHere()
	}
	return d.round(), nil
}

// round is the last one of this host's leadership.
func (n *node) round() peer.Round {
	decisions, pending, at := n.leader.latest()
	verdicts := map[string]peer.Verdict{}
	for name, v := range n.leader.judged() {
		verdicts[name] = peer.Verdict(v)
	}
	return peer.Round{
		Verdicts: verdicts,
		At:       at, Decisions: decisions, Pending: pending,
		Samples: n.leader.collect.samples(), Skew: n.leader.collect.skews(),
	}
}

// Standing implements peer.Node.
func (d desk) Standing(context.Context) (peer.Standing, error) {
	s := d.store.Stats()
	return peer.Standing{LastIndex: s.LastIndex, LastTerm: s.LastTerm, Commit: s.Commit, LastContact: s.LastContact}, nil
}

// Enter implements peer.Node. Only a host that the state knows can enter: one
// that was removed is not taken back by its own wish.
func (d desk) Enter(ctx context.Context, e peer.Entry) error {
	if !d.store.Stats().IsLeader {
		return d.notHere()
	}
	c, _ := d.replica.Current()
	if _, known := c.HostOfServer(e.Server); !known {
		return fmt.Errorf("no host of the cluster has the server id %s", e.Server)
	}
	err := d.members.AddNonvoter(ctx, e.Server, e.Address)
	if errors.Is(err, raftstore.ErrNotLeader) {
		return d.notHere()
	}
	return err
}

// Points implements peer.Node.
func (d desk) Points(_ context.Context, q peer.PointsQuery) ([]peer.Point, error) {
	var out []peer.Point
	for _, p := range d.history.Points(q.Instance, q.From, q.To) {
		out = append(out, peer.Point{At: p.At, CPU: p.CPU, Memory: p.Memory})
	}
	return out, nil
}

// Tasks implements peer.Node.
func (d desk) Tasks(context.Context) ([]peer.TaskProgress, error) {
	if d.tasks == nil {
		return nil, nil
	}
	return d.tasks(), nil
}

// Fetch implements peer.Node.
func (d desk) Fetch(ctx context.Context, image string) error { return d.images.Fetch(ctx, image) }

// Image implements peer.Node.
func (d desk) Image(ctx context.Context, image string, to io.Writer) error {
	return d.images.Save(ctx, image, to)
}

// Key implements peer.Node.
func (d desk) Key(_ context.Context, id string) ([]byte, error) {
	if d.certs == nil {
		return nil, errNoCerts
	}
	return d.certs.ring.Key(id)
}

// Rehearse implements peer.Node.
func (d desk) Rehearse(ctx context.Context, names []string) (peer.Rehearsal, error) {
	if d.certs == nil {
		return nil, errNoCerts
	}
	return d.certs.rehearse(ctx, names)
}

// Logs implements peer.Node.
func (d desk) Logs(ctx context.Context, q peer.LogQuery, stdout, stderr io.Writer) error {
	return d.logs(ctx, q, stdout, stderr)
}
