package certs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
)

const (
	// lease is how long a host that dies holds up the others.
	lease = 15 * time.Second
	// lockAgain is how often a lock that another has is asked for.
	lockAgain = 500 * time.Millisecond
)

// storage is a Store as certmagic wants it, for one CA.
//
// What certmagic stores one after the other of a certificate, its key, its
// chain and its data, is put in force together, while the lock is held: no host
// ever sees a chain with another key.
type storage struct {
	store Store
	ca    string
	// issuer is certmagic's name for the CA.
	issuer string
	// rehearsal keeps no certificate, and finds none.
	rehearsal bool

	mu sync.Mutex
	// parts are what has been stored of a certificate so far, by directory.
	parts map[string]map[string][]byte
	held  map[string]*heldLock
}

type heldLock struct {
	owner string
	token uint64
	stop  context.CancelFunc
	done  chan struct{}
}

var _ certmagic.Storage = (*storage)(nil)

func newStorage(s Store, ca, issuer string, rehearsal bool) *storage {
	return &storage{store: s, ca: ca, issuer: issuer, rehearsal: rehearsal, parts: map[string]map[string][]byte{}, held: map[string]*heldLock{}}
}

// lockName keeps the locks of two CAs apart.
func (s *storage) lockName(name string) string { return s.issuer + "/" + name }

// Lock implements certmagic.Locker. The lease is taken again and again until
// Unlock; whoever loses it all the same cannot keep what it orders.
func (s *storage) Lock(ctx context.Context, name string) error {
	owner := rand.Text()
	for {
		token, err := s.store.Lock(ctx, s.lockName(name), owner, lease)
		if err == nil {
			s.hold(ctx, name, owner, token)
			return nil
		}
		if !errors.Is(err, ErrHeld) {
			return fmt.Errorf("lock %s: %w", name, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("lock %s: %w", name, errors.Join(err, ctx.Err()))
		case <-time.After(lockAgain):
		}
	}
}

func (s *storage) hold(ctx context.Context, name, owner string, token uint64) {
	ctx, stop := context.WithCancel(ctx)
	l := &heldLock{owner: owner, token: token, stop: stop, done: make(chan struct{})}
	s.mu.Lock()
	s.held[name] = l
	s.mu.Unlock()
	go func() {
		defer close(l.done)
		tick := time.NewTicker(lease / 3)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if _, err := s.store.Lock(ctx, s.lockName(name), owner, lease); errors.Is(err, ErrHeld) {
				return
			}
		}
	}()
}

// Unlock implements certmagic.Locker.
func (s *storage) Unlock(ctx context.Context, name string) error {
	s.mu.Lock()
	l := s.held[name]
	delete(s.held, name)
	s.mu.Unlock()
	if l == nil {
		return fmt.Errorf("unlock %s: %w", name, fs.ErrNotExist)
	}
	l.stop()
	<-l.done
	return s.store.Unlock(ctx, s.lockName(name), l.owner)
}

// ofCertificate says whether a file is part of a certificate of this CA, and
// of which name and what part: ".key", ".crt" or ".json".
func (s *storage) ofCertificate(key string) (dir, part string, ok bool) {
	dir = path.Dir(key)
	if path.Dir(dir) != certmagic.StorageKeys.CertsPrefix(s.issuer) {
		return "", "", false
	}
	return dir, path.Ext(key), true
}

// Store implements certmagic.Storage.
func (s *storage) Store(ctx context.Context, key string, value []byte) error {
	dir, part, ok := s.ofCertificate(key)
	if !ok {
		return s.store.Put(ctx, key, value)
	}
	if s.rehearsal {
		return nil
	}
	s.mu.Lock()
	if s.parts[dir] == nil {
		s.parts[dir] = map[string][]byte{}
	}
	parts := s.parts[dir]
	parts[part] = value
	if len(parts) < 3 {
		s.mu.Unlock()
		return nil
	}
	delete(s.parts, dir)
	name := unsafeName(path.Base(dir))
	lock := "issue_cert_" + name
	held := s.held[lock]
	s.mu.Unlock()
	if held == nil {
		return fmt.Errorf("keep the certificate of %s: its lock is not held", name)
	}
	return s.store.Keep(ctx, name, Bundle{Chain: parts[".crt"], Key: parts[".key"], Meta: parts[".json"], CA: s.ca}, s.lockName(lock), held.token)
}

// unsafeName is a host name as certmagic's keys have it, with its wildcard.
func unsafeName(safe string) string {
	if rest, ok := strings.CutPrefix(safe, "wildcard_"); ok {
		return "*" + rest
	}
	return safe
}

// Load implements certmagic.Storage.
func (s *storage) Load(_ context.Context, key string) ([]byte, error) {
	dir, part, ok := s.ofCertificate(key)
	if !ok {
		f, err := s.store.Load(key)
		return f.Data, err
	}
	b, err := s.certificate(dir)
	if err != nil {
		return nil, err
	}
	switch part {
	case ".crt":
		return b.Chain, nil
	case ".key":
		return b.Key, nil
	}
	return b.Meta, nil
}

// certificate is the one of a directory, where this CA has issued it.
func (s *storage) certificate(dir string) (Bundle, error) {
	name := unsafeName(path.Base(dir))
	if s.rehearsal {
		return Bundle{}, fmt.Errorf("certificate of %s: %w", name, fs.ErrNotExist)
	}
	b, err := s.store.Certificate(name)
	if err == nil && b.CA != s.ca {
		err = fmt.Errorf("certificate of %s by %s: %w", name, s.ca, fs.ErrNotExist)
	}
	return b, err
}

// Delete implements certmagic.Storage. Certificates are not removed here.
func (s *storage) Delete(ctx context.Context, key string) error {
	if dir, _, ok := s.ofCertificate(key); ok {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.parts, dir)
		return nil
	}
	return s.store.Delete(ctx, key)
}

// Exists implements certmagic.Storage.
func (s *storage) Exists(ctx context.Context, key string) bool {
	_, err := s.Stat(ctx, key)
	return err == nil
}

// List implements certmagic.Storage.
func (s *storage) List(_ context.Context, dir string, recursive bool) ([]string, error) {
	var out []string
	seen := map[string]bool{}
	for _, key := range s.store.List(dir) {
		if !recursive {
			rest := strings.TrimPrefix(key, dir+"/")
			key = path.Join(dir, strings.SplitN(rest, "/", 2)[0])
		}
		if !seen[key] {
			seen[key] = true
			out = append(out, key)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("list %s: %w", dir, fs.ErrNotExist)
	}
	return out, nil
}

// Stat implements certmagic.Storage.
func (s *storage) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	if _, _, ok := s.ofCertificate(key); ok {
		data, err := s.Load(ctx, key)
		return certmagic.KeyInfo{Key: key, Size: int64(len(data)), IsTerminal: true}, err
	}
	f, err := s.store.Load(key)
	if err == nil {
		return certmagic.KeyInfo{Key: key, Size: int64(len(f.Data)), Modified: f.Modified, IsTerminal: true}, nil
	}
	if errors.Is(err, fs.ErrNotExist) && len(s.store.List(key)) > 0 {
		return certmagic.KeyInfo{Key: key}, nil
	}
	return certmagic.KeyInfo{}, err
}
