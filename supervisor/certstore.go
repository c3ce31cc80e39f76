package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/supervisord/supervisord/supervisor/certs"
	"github.com/supervisord/supervisord/supervisor/state"
)

// certStore is the replicated state as certs.Store: what is put is sealed on
// its way in.
type certStore struct{ *certKeeper }

var _ certs.Store = certStore{}

func sealedBlob(key string) string { return "blob/" + key }

func sealedKey(name string) string { return "certificate/" + name }

// open returns a sealed text.
func (k *certKeeper) open(s state.Sealed, as string) ([]byte, error) {
	return k.ring.Open(s.Key, s.Data, as)
}

// seal seals a text with the key in force.
func (k *certKeeper) seal(ctx context.Context, plain []byte, as string) (state.Sealed, error) {
	id, err := k.ensureKey(ctx)
	if err != nil {
		return state.Sealed{}, err
	}
	data, err := k.ring.Seal(id, plain, as)
	return state.Sealed{Key: id, Data: data}, err
}

// Load implements certs.Store.
func (s certStore) Load(key string) (certs.File, error) {
	c, _ := s.node.replica.Current()
	b, ok := c.Blobs.Get(key)
	if !ok {
		return certs.File{}, fmt.Errorf("%s: %w", key, fs.ErrNotExist)
	}
	data, err := s.open(b.Data, sealedBlob(key))
	return certs.File{Data: data, Modified: b.Modified}, err
}

// List implements certs.Store.
func (s certStore) List(dir string) []string {
	c, _ := s.node.replica.Current()
	var out []string
	for key := range c.Blobs.Prefix(dir + "/") {
		out = append(out, key)
	}
	return out
}

// Changed implements certs.Store.
func (s certStore) Changed() <-chan struct{} {
	_, changed := s.node.replica.Current()
	return changed
}

// Put implements certs.Store.
func (s certStore) Put(ctx context.Context, key string, value []byte) error {
	data, err := s.certKeeper.seal(ctx, value, sealedBlob(key))
	if err != nil {
		return err
	}
	return s.propose(ctx, state.PutBlob{Key: key, Data: data, Size: int64(len(value))})
}

// Delete implements certs.Store.
func (s certStore) Delete(ctx context.Context, key string) error {
	return s.propose(ctx, state.DeleteBlob{Key: key})
}

// Lock implements certs.Store. The lock is looked at where it was taken: in the
// state that this host has since.
func (s certStore) Lock(ctx context.Context, name, owner string, lease time.Duration) (uint64, error) {
	owner = s.node.self.Name + "/" + owner
	err := s.propose(ctx, state.TakeLock{Name: name, Owner: owner, For: lease})
	if errors.Is(err, state.ErrRefused) {
		return 0, fmt.Errorf("%w: %w", certs.ErrHeld, err)
	}
	if err != nil {
		return 0, err
	}
	c, _ := s.node.replica.Current()
	l, ok := c.Locks.Get(name)
	if !ok || l.Owner != owner {
		return 0, fmt.Errorf("%w, or this host has not heard of it yet", certs.ErrHeld)
	}
	return l.Token, nil
}

// Unlock implements certs.Store.
func (s certStore) Unlock(ctx context.Context, name, owner string) error {
	return s.propose(ctx, state.ReleaseLock{Name: name, Owner: s.node.self.Name + "/" + owner})
}

// Certificate implements certs.Store.
func (s certStore) Certificate(name string) (certs.Bundle, error) {
	c, _ := s.node.replica.Current()
	cert, ok := c.Certificates.Get(name)
	if !ok {
		return certs.Bundle{}, fmt.Errorf("certificate of %s: %w", name, fs.ErrNotExist)
	}
	key, err := s.open(cert.Key, sealedKey(name))
	return certs.Bundle{Chain: []byte(cert.Chain), Key: key, CA: cert.CA, Meta: cert.Meta}, err
}

// Keep implements certs.Store. What could not be served is not kept.
func (s certStore) Keep(ctx context.Context, name string, b certs.Bundle, lock string, token uint64) error {
	return s.keep(ctx, name, b, &state.Fence{Lock: lock, Token: token})
}

func (k *certKeeper) keep(ctx context.Context, name string, b certs.Bundle, fence *state.Fence) error {
	info, err := certs.Check(b.Chain, b.Key, name, k.node.replica.Now())
	if err != nil {
		return err
	}
	key, err := k.seal(ctx, b.Key, sealedKey(name))
	if err != nil {
		return err
	}
	cert := state.Certificate{
		Name: name, Chain: string(b.Chain), Key: key, CA: b.CA, Meta: b.Meta,
		Names: info.Names, Issuer: info.Issuer, Fingerprint: info.Fingerprint, NotBefore: info.NotBefore, NotAfter: info.NotAfter,
	}
	if b.CA != "" {
		cert.RenewAt = certs.RenewAt(info)
	}
	return k.propose(ctx, state.KeepCertificate{Certificate: cert, Fence: fence})
}

// propose commits one command.
func (k *certKeeper) propose(ctx context.Context, cmd state.Command) error {
	refused, err := k.node.proposer.Propose(ctx, cmd)
	return errors.Join(append(refused, err)...)
}
