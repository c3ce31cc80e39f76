package supervisor

import (
	"context"
	"io"
	"time"

	"github.com/supervisord/supervisord/supervisor/peer"
	"github.com/supervisord/supervisord/supervisor/state"
)

// peers are the daemons of the other hosts, by address; see peer.Node for what
// the calls do. *peer.Client is the real one.
type peers interface {
	Propose(ctx context.Context, address string, proposal []byte) (peer.Receipt, error)
	Report(ctx context.Context, address string, r peer.Report) error
	Recall(ctx context.Context, address string, span time.Duration) (peer.Memory, error)
	Round(ctx context.Context, address string) (peer.Round, error)
	Standing(ctx context.Context, address string) (peer.Standing, error)
	Enter(ctx context.Context, address string, e peer.Entry) error
	Points(ctx context.Context, address string, q peer.PointsQuery) ([]peer.Point, error)
	Tasks(ctx context.Context, address string) ([]peer.TaskProgress, error)
	Fetch(ctx context.Context, address, image string) error
	Image(ctx context.Context, address, image string, to io.Writer) error
	Candidates(ctx context.Context, address string, named map[string]string) ([]state.Candidate, error)
	Key(ctx context.Context, address, id string) ([]byte, error)
	Rehearse(ctx context.Context, address string, names []string) (peer.Rehearsal, error)
	Logs(ctx context.Context, address string, q peer.LogQuery, stdout, stderr io.Writer) error
	Ping(ctx context.Context, address string) error
}

var _ peers = (*peer.Client)(nil)
