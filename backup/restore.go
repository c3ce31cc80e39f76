package backup

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"strings"
	"sync/atomic"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
)

// ErrNoKey: the archive is encrypted, and none of the keys at hand opens it.
var ErrNoKey = errors.New("no key at hand opens the backup")

// Keys are age private keys.
type Keys []age.Identity

// Identities reads a file of age private keys.
func Identities(file string) (Keys, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoKey, err)
	}
	defer f.Close()
	ids, err := age.ParseIdentities(f)
	if err != nil {
		// The parser's own words may hold a part of the file.
		return nil, fmt.Errorf("%w: %s is no file of age identities", ErrNoKey, file)
	}
	return ids, nil
}

// Read gives the dump of a backup to f and then sees that the archive was whole:
// its size, its checksum, and the size of the dump. What f was given may be
// wrong as long as Read has not returned nil; f must not make it final.
//
// f may stop early without an error; the rest is read all the same.
func Read(ctx context.Context, t Target, p Place, m Manifest, keys Keys, progress *Progress, f func(dump io.Reader) error) (err error) {
	if progress == nil {
		progress = &Progress{}
	}
	r, err := t.Open(ctx, path.Join(p.dir(), m.File))
	if err != nil {
		return fmt.Errorf("read %s from %s: %w", m.ID, t, err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	tee := &tally{r: r, sum: sha256.New(), n: &progress.Stored}
	dumped := &meter{n: &progress.Dumped}
	work := func() error {
		plain, done, err := m.open(tee, keys)
		if err != nil {
			return err
		}
		defer done()
		dumped.r = plain
		if err := f(dumped); err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, dumped)
		return damaged(err)
	}
	failed := work()
	if ctx.Err() != nil {
		return errors.Join(failed, ctx.Err())
	}
	if errors.Is(failed, ErrNoKey) && len(keys) == 0 {
		return fmt.Errorf("read %s from %s: %w", m.ID, t, failed)
	}
	// Whatever else went wrong, a damaged archive is why.
	if _, err := io.Copy(io.Discard, tee); err != nil {
		return fmt.Errorf("read %s from %s: %w", m.ID, t, err)
	}
	if err := m.compare(tee.size, tee.sum.Sum(nil)); err != nil {
		return fmt.Errorf("read %s from %s: %w", m.ID, t, errors.Join(err, failed))
	}
	if failed != nil {
		return fmt.Errorf("read %s from %s: %w", m.ID, t, failed)
	}
	if dumped.size != m.DumpSize {
		return fmt.Errorf("read %s from %s: %w: the dump in it has %d bytes, %d were written", m.ID, t, ErrDamaged, dumped.size, m.DumpSize)
	}
	return nil
}

// open decrypts and decompresses.
func (m Manifest) open(r io.Reader, keys Keys) (io.Reader, func(), error) {
	if strings.HasSuffix(m.File, ".age") {
		if len(keys) == 0 {
			return nil, nil, fmt.Errorf("%w: it is encrypted to %s, and no age identity file is given", ErrNoKey, strings.Join(m.Recipients, ", "))
		}
		plain, err := age.Decrypt(r, keys...)
		if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
			return nil, nil, fmt.Errorf("%w: it is encrypted to %s", ErrNoKey, strings.Join(m.Recipients, ", "))
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%w: decrypt: %w", ErrDamaged, err)
		}
		r = plain
	}
	d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(1<<28))
	if err != nil {
		return nil, nil, fmt.Errorf("decompress: %w", err)
	}
	return d, d.Close, nil
}

func damaged(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// Verify reads a backup to its end and restores nothing.
func Verify(ctx context.Context, t Target, p Place, m Manifest, keys Keys, progress *Progress) error {
	return Read(ctx, t, p, m, keys, progress, func(io.Reader) error { return nil })
}

// tally sums what is read of the archive.
type tally struct {
	r    io.Reader
	sum  hash.Hash
	size int64
	n    *atomic.Int64
}

func (t *tally) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.sum.Write(p[:n])
	t.size += int64(n)
	t.n.Add(int64(n))
	return n, err
}

// meter counts what is read of the dump.
type meter struct {
	r    io.Reader
	size int64
	n    *atomic.Int64
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.size += int64(n)
	m.n.Add(int64(n))
	return n, err
}
