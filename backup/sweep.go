package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Sweep removes what runs that were cut off have left in a target: archives
// with a note and no manifest, and backups that are whole and still held, where
// known says that nobody knows of them. It returns the ids that it has cleaned
// up after. No run of the place may be under way.
func Sweep(ctx context.Context, t Target, p Place, known func(id string) bool) ([]string, error) {
	if err := p.validate(); err != nil {
		return nil, err
	}
	names, err := t.Names(ctx, p.dir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for leftovers in %s: %w", t, err)
	}
	var swept []string
	var errs []error
	for _, name := range names {
		id, isNote := strings.CutSuffix(name, noteExt)
		if !isNote {
			continue
		}
		if err := sweepOne(ctx, t, p, id, known(id)); err != nil {
			errs = append(errs, fmt.Errorf("clean up after %s in %s: %w", id, t, err))
			continue
		}
		swept = append(swept, id)
	}
	return swept, errors.Join(errs...)
}

func sweepOne(ctx context.Context, t Target, p Place, id string, known bool) error {
	note, err := readNote(ctx, t, p, id)
	if err != nil {
		return err
	}
	switch _, err := ReadManifest(ctx, t, p, id); {
	case err == nil && known:
		// It was done but for this.
		return t.Remove(ctx, p.note(id))
	case err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrDamaged):
		return err
	}
	return discard(ctx, t, p, note)
}

// Release ends the hold of a backup that is known now.
func Release(ctx context.Context, t Target, p Place, id string) error {
	if err := p.validate(); err != nil {
		return err
	}
	return t.Remove(ctx, p.note(id))
}

// readNote reads a note of ours; any other file of that name is an error, and
// stays.
func readNote(ctx context.Context, t Target, p Place, id string) (Manifest, error) {
	text, err := readAll(ctx, t, p.note(id))
	if err != nil {
		return Manifest{}, err
	}
	m, err := parseManifest(text)
	if err != nil {
		// It may have been cut off itself, but it is written as a whole: so it
		// is not ours.
		return m, fmt.Errorf("%s is no note of ours: %w", p.note(id), err)
	}
	if !p.owns(m, id) {
		return m, fmt.Errorf("%s is not of this cluster and service", p.note(id))
	}
	return m, nil
}

// discard removes a backup: the manifest first, so that it is none any more,
// and the note last, so that what is left can be found.
func discard(ctx context.Context, t Target, p Place, m Manifest) error {
	for _, name := range []string{p.manifest(m.ID), path.Join(p.dir(), m.File), p.note(m.ID)} {
		if err := t.Remove(ctx, name); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	return nil
}

// Remove deletes a backup from a target. One that is not there, or whose
// manifest is gone, has been removed; what has no manifest of this cluster and
// service is not touched, and neither is one whose manifest is damaged.
func Remove(ctx context.Context, t Target, p Place, id string) error {
	if err := p.validate(); err != nil {
		return err
	}
	m, err := ReadManifest(ctx, t, p, id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	// A crash in the midst of it must leave something to find the rest by.
	note, err := m.seal()
	if err == nil {
		err = t.Put(ctx, p.note(id), note)
	}
	if err != nil {
		return fmt.Errorf("remove backup %s from %s: %w", id, t, err)
	}
	if err := discard(ctx, t, p, m); err != nil {
		return fmt.Errorf("backup %s in %s: %w", id, t, err)
	}
	return nil
}
