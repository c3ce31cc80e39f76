package certs

import (
	"context"
	"errors"
	"time"
)

// Store is what all hosts of a cluster share. Names of files are paths joined
// by "/". Implementations are safe for concurrent use, and a caller reads what
// it has written.
type Store interface {
	// Load returns a file; fs.ErrNotExist wrapped where there is none.
	Load(key string) (File, error)
	// List returns the files under a directory, or under all of its
	// directories too, sorted.
	List(dir string) []string
	// Changed is closed when there may be other files than now.
	Changed() <-chan struct{}
	Put(ctx context.Context, key string, value []byte) error
	// Delete removes a file, and all that is under a directory. Nothing there
	// is no error.
	Delete(ctx context.Context, key string) error
	// Lock takes a lease, or has it longer; ErrHeld where another owner has it.
	// The token grows with each new owner.
	Lock(ctx context.Context, name, owner string, lease time.Duration) (token uint64, err error)
	Unlock(ctx context.Context, name, owner string) error
	// Certificate returns what is kept for a host name; fs.ErrNotExist wrapped
	// where nothing is.
	Certificate(name string) (Bundle, error)
	// Keep puts a certificate in force, unless the lock that it was ordered
	// under has had another owner since.
	Keep(ctx context.Context, name string, b Bundle, lock string, token uint64) error
}

// ErrHeld: another owner has the lock.
var ErrHeld = errors.New("the lock is held by another")

// File is one file of a Store.
type File struct {
	Data     []byte
	Modified time.Time
}

// Bundle is a certificate with what belongs to it, in PEM.
type Bundle struct {
	Chain, Key []byte
	// CA is the directory that issued it; empty for one that was brought.
	CA string
	// Meta is certmagic's.
	Meta []byte
}

// String keeps the key out of logs.
func (b Bundle) String() string { return "certificate of " + b.CA }

// GoString is String.
func (b Bundle) GoString() string { return b.String() }
