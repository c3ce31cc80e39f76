package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/supervisord/supervisord/supervisor/certs"
	"github.com/supervisord/supervisord/supervisor/peer"
	"github.com/supervisord/supervisord/supervisor/seal"
	"github.com/supervisord/supervisord/supervisor/state"
)

// certKeeper does what one host does for certificates: it answers CAs, writes
// what nginx reads, and orders while it leads.
type certKeeper struct {
	ring    *seal.Ring
	manager *certs.Manager
	files   *certs.Files
	// root is nginx's directory of generations, whose texts say which files
	// are still named.
	root string
	// listen are the addresses for TLS where the compose file says nothing.
	listen []string
	// answers is where CAs are answered.
	answers net.Listener
	log     *slog.Logger
	// node is set by join, before anything runs.
	node *node

	mu sync.Mutex
	// served is what each host name is served with on this host.
	served map[string]served
	// problems are why a host name is not served with what the state has.
	problems map[string]string
}

var errNoCerts = errors.New("this host keeps no certificates")

// tlsDir is where nginx's directory has the certificates.
const tlsDir = "tls"

// newCertKeeper makes the keeper of a host. The listener is its own from then
// on.
func newCertKeeper(ring *seal.Ring, root string, listen []string, answers net.Listener, log *slog.Logger) *certKeeper {
	k := &certKeeper{
		ring: ring, files: certs.NewFiles(filepath.Join(root, tlsDir)), root: root, listen: listen, answers: answers, log: log,
		served: map[string]served{}, problems: map[string]string{},
	}
	k.manager = certs.NewManager(certs.Options{Store: certStore{k}, Challenge: answers.Addr().String(), Log: log})
	return k
}

// join says which node the keeper is part of.
func (k *certKeeper) join(n *node) { k.node = n }

// close ends what newCertKeeper began.
func (k *certKeeper) close() error {
	k.manager.Close()
	if err := k.answers.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("address for a CA's questions: %w", err)
	}
	return nil
}

// run works until the context ends.
func (k *certKeeper) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return k.watchKey(ctx) })
	g.Go(func() error { return k.serve(ctx) })
	g.Go(func() error { return k.tidy(ctx) })
	g.Go(func() error { return k.node.store.WhileLeader(ctx, k.lead) })
	return g.Wait()
}

// serve answers CAs, which come through nginx.
func (k *certKeeper) serve(ctx context.Context) error {
	server := &http.Server{
		Handler: k.manager, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(k.log.Handler(), slog.LevelDebug),
	}
	end := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer end()
	err := server.Serve(k.answers)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("answer CAs: %w", err)
}

// settingsOf is what a spec says of its CA.
func settingsOf(t state.TLS) certs.Settings {
	s := certs.Settings{CA: t.CA, Email: t.Email, Roots: t.Roots}
	if d := t.DNS; d != nil {
		s.DNS = &certs.DNS{Exec: d.Exec, Wait: d.Wait}
		if u := d.RFC2136; u != nil {
			s.DNS.Server, s.DNS.Zone, s.DNS.KeyName, s.DNS.Algorithm, s.DNS.KeyFile = u.Server, u.Zone, u.KeyName, u.Algorithm, u.KeyFile
		}
	}
	return s
}

var (
	errNoTLS     = errors.New("the file has no x-supervisor.tls")
	errNoStaging = errors.New("no directory for rehearsals is known of this CA; name one: x-supervisor.tls.staging")
)

// rehearse orders certificates for trial from this host, of the names given.
// Nothing is kept, and no order of the day is used up: the CA is another one.
func (k *certKeeper) rehearse(ctx context.Context, names []string) (peer.Rehearsal, error) {
	c, _ := k.node.replica.Current()
	switch {
	case c.Spec.TLS == nil:
		return nil, errNoTLS
	case c.Spec.TLS.Staging == "":
		return nil, errNoStaging
	}
	s := settingsOf(*c.Spec.TLS)
	s.CA = c.Spec.TLS.Staging
	out := peer.Rehearsal{}
	for _, name := range names {
		out[name] = ""
		if err := k.manager.Rehearse(ctx, s, name); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			out[name] = err.Error()
		}
	}
	return out, nil
}

// tidyEvery is how often old files are looked for.
const tidyEvery = time.Hour

// tidy removes certificates that no configuration of nginx names any more.
func (k *certKeeper) tidy(ctx context.Context) error {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if err := k.clean(); err != nil {
			k.log.WarnContext(ctx, "cannot remove old certificates, trying again", "err", err)
		}
	}
}

// clean looks at the generations of nginx that are on the disk, whichever of
// them is live: one may be gone back to.
func (k *certKeeper) clean() error {
	texts, err := readAll(filepath.Join(k.root, "gen-*", "*.conf"))
	if err != nil {
		return err
	}
	k.mu.Lock()
	var wanted []string
	for _, s := range k.served {
		wanted = append(wanted, s.pair.Chain)
	}
	k.mu.Unlock()
	return k.files.Clean(func(chain string) bool {
		return slices.Contains(wanted, chain) || named(texts, filepath.Base(chain))
	})
}
