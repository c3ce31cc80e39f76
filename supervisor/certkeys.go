package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/supervisord/supervisord/supervisor/state"
)

const (
	// keyWithin bounds the question for a key.
	keyWithin = 2 * time.Second
	// keyAgain is the pause before it is asked for again.
	keyAgain = 2 * time.Second
)

// sealKey is what a host that is let in is given; nil where there is none, or
// where this host lacks it too: it asks the others then.
func (p porter) sealKey(c state.Cluster) []byte {
	if p.certs == nil || c.SealKey == "" {
		return nil
	}
	key, err := p.certs.ring.Key(c.SealKey)
	if err != nil {
		return nil
	}
	return key
}

// watchKey gets the key in force from the other hosts whenever this one lacks
// it: the cluster may be older than it, or hosts may have joined at once.
func (k *certKeeper) watchKey(ctx context.Context) error {
	complained, have := "", ""
	for {
		c, changed := k.node.replica.Current()
		var again <-chan time.Time
		if c.SealKey != have {
			if err := k.getKey(ctx, c); err != nil {
				// The state changes more often than keys turn up.
				again, changed = time.After(keyAgain), nil
				if ctx.Err() == nil && complained != err.Error() {
					complained = err.Error()
					k.log.WarnContext(ctx, "cannot get the key of the cluster's secrets yet", "err", err)
				}
			} else {
				have = c.SealKey
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-again:
		}
	}
}

// getKey sees that the key in force is on this host.
func (k *certKeeper) getKey(ctx context.Context, c state.Cluster) error {
	if k.ring.Has(c.SealKey) {
		return nil
	}
	if err := k.fetchKey(ctx, c); err != nil {
		return err
	}
	k.log.InfoContext(ctx, "got the key of the cluster's secrets", "key", c.SealKey)
	return nil
}

// fetchKey asks every host for the key in force until one has it.
func (k *certKeeper) fetchKey(ctx context.Context, c state.Cluster) error {
	var errs []error
	for h := range c.Hosts.Values() {
		if k.node.peers == nil || h.Name == k.node.self.Name || h.Peer == "" || h.IsLost() {
			continue
		}
		key, err := k.askKey(ctx, h.Peer, c.SealKey)
		if err == nil {
			var id string
			if id, err = k.ring.Add(key); err == nil && id != c.SealKey {
				err = fmt.Errorf("%s has given another key", h.Name)
			}
		}
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", h.Name, err))
	}
	return errors.Join(append(errs, k.missing(c.SealKey))...)
}

func (k *certKeeper) askKey(ctx context.Context, address, id string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, keyWithin)
	defer cancel()
	return k.node.peers.Key(ctx, address, id)
}

// missing is why a key cannot be used; nil where it can.
func (k *certKeeper) missing(id string) error {
	_, err := k.ring.Key(id)
	return err
}

// ensureKey returns the id of the key in force, and makes one where there is
// none. It is on this host when it returns.
func (k *certKeeper) ensureKey(ctx context.Context) (string, error) {
	c, _ := k.node.replica.Current()
	if c.SealKey == "" {
		id, err := k.ring.Make()
		if err != nil {
			return "", err
		}
		refused, err := k.node.proposer.Propose(ctx, state.SetSealKey{ID: id})
		if err != nil {
			return "", err
		}
		// Refused, another host was first, and its key counts.
		if refused[0] == nil {
			return id, nil
		}
		c, _ = k.node.replica.Current()
	}
	if err := k.missing(c.SealKey); err == nil {
		return c.SealKey, nil
	}
	return c.SealKey, k.fetchKey(ctx, c)
}
