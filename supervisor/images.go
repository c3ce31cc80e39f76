package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/supervisord/supervisord/supervisor/peer"
	"github.com/supervisord/supervisord/supervisor/state"
)

// obtain gets an image that is not on this host: from another host that has
// it, so that no registry is needed and all run the same, or else from its
// registry.
func (s *Supervisor) obtain(ctx context.Context, ref string) error {
	if s.node != nil && s.node.peers != nil {
		c, _ := s.node.replica.Current()
		for h := range c.Hosts.Values() {
			if h.Name == s.options.Host || h.IsLost() || h.Peer == "" {
				continue
			}
			err := s.copyImage(ctx, h, ref)
			if err == nil {
				s.options.Log.InfoContext(ctx, "got an image from another host", "image", ref, "host", h.Name)
				return nil
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			// That it has not got it is the usual case.
			if _, answered := errors.AsType[*peer.RemoteError](err); !answered {
				s.options.Log.WarnContext(ctx, "cannot get an image from another host", "image", ref, "host", h.Name, "err", err)
			}
		}
	}
	return s.engine.Pull(ctx, ref)
}

// copyImage loads an image from another host as it is sent.
func (s *Supervisor) copyImage(ctx context.Context, h state.Host, ref string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	from, to := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		err := s.node.peers.Image(ctx, h.Peer, ref, to)
		// What was cut off must not pass for a whole image.
		sent <- errors.Join(err, to.CloseWithError(err))
	}()
	loaded := s.engine.Load(ctx, from)
	// Where loading failed, the sender must not wait for its reader.
	from.CloseWithError(loaded)
	if err := <-sent; err != nil {
		return err
	}
	if loaded != nil {
		return fmt.Errorf("load %s: %w", ref, loaded)
	}
	return nil
}
