package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"sync"
)

// finish makes the archive durable in each target, reads it back, and only then
// writes the manifest there.
func (j Job) finish(ctx context.Context, m Manifest, ends []*end) {
	var wg sync.WaitGroup
	for _, e := range ends {
		if e.failed() != nil {
			continue
		}
		wg.Go(func() {
			if err := e.finish(ctx, m); err != nil {
				e.fail(err)
			}
		})
	}
	wg.Wait()
}

func (e *end) finish(ctx context.Context, m Manifest) error {
	if err := e.upload.Commit(ctx); err != nil {
		return fmt.Errorf("make the archive durable: %w", err)
	}
	if err := readBack(ctx, e.target, e.place, m); err != nil {
		return err
	}
	text, err := m.seal()
	if err != nil {
		return err
	}
	if err := e.target.Put(ctx, e.place.manifest(m.ID), text); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	if _, err := ReadManifest(ctx, e.target, e.place, m.ID); err != nil {
		return err
	}
	return nil
}

// readBack reads the archive again and compares its size and checksum.
func readBack(ctx context.Context, t Target, p Place, m Manifest) (err error) {
	r, err := t.Open(ctx, path.Join(p.dir(), m.File))
	if err != nil {
		return fmt.Errorf("read the archive back: %w", err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	sum := sha256.New()
	n, err := io.Copy(sum, r)
	if err != nil {
		return fmt.Errorf("read the archive back: %w", err)
	}
	return m.compare(n, sum.Sum(nil))
}

// compare says whether an archive is as it was written.
func (m Manifest) compare(size int64, sum []byte) error {
	switch {
	case size != m.Size:
		return fmt.Errorf("%w: the archive has %d bytes, %d were written", ErrDamaged, size, m.Size)
	case hex.EncodeToString(sum) != m.SHA256:
		return fmt.Errorf("%w: the archive does not have the checksum that it was written with", ErrDamaged)
	}
	return nil
}

// clean removes what failed, and the notes of what is not held. It goes on after
// the job's context has ended.
func (j Job) clean(ctx context.Context, m Manifest, ends []*end) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settle)
	defer cancel()
	var wg sync.WaitGroup
	for _, e := range ends {
		wg.Go(func() {
			defer e.cancel()
			if e.stalled {
				return
			}
			if e.err == nil {
				if !j.Hold {
					// A note that stays is removed by the next Sweep.
					_ = e.target.Remove(ctx, j.note(m.ID))
				}
				return
			}
			var err error
			if e.upload != nil {
				err = e.upload.Abort(ctx)
			}
			if e.noted {
				err = errors.Join(err, discard(ctx, e.target, j.Place, m))
			}
			if err != nil {
				e.err = fmt.Errorf("%w (and what it has left is removed later: %w)", e.err, err)
			}
		})
	}
	wg.Wait()
}
