package sample

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/supervisord/supervisord/lbconfig/accesslog"
)

const (
	// accessBlock is how much of the log is read at once; accessMost how much
	// in one call. What is more is left out: nobody waits for old news.
	accessBlock = 256 << 10
	accessMost  = 32 << 20
)

// AccessLog reads what nginx appends to its access log. It follows the log
// when it is rotated, by name as by truncation. It is not safe for concurrent
// use, and closes its file when it is closed.
type AccessLog struct {
	path string
	file *os.File
	at   int64
	// rest is the beginning of a line whose end has not been written.
	rest []byte
	// begun is set when the log has been looked at: what was in it before is
	// old, what is in one that comes later is not.
	begun bool
	buf   []byte
}

// NewAccessLog reads the log at a path from its end on. It need not be there.
func NewAccessLog(path string) *AccessLog { return &AccessLog{path: path} }

// Read returns what the lines since the last call say, by the address of the
// instance; nothing where there is no log.
func (l *AccessLog) Read() (map[string]accesslog.Counts, error) {
	counts := map[string]accesslog.Counts{}
	if l.file == nil {
		if err := l.open(); err != nil {
			return counts, err
		}
		if l.file == nil {
			return counts, nil
		}
	}
	if err := l.take(counts); err != nil {
		return counts, fmt.Errorf("read nginx's access log: %w", err)
	}
	moved, err := l.moved()
	if err != nil || !moved {
		return counts, err
	}
	// The old file has been read to its end; nginx writes to the new one.
	if err := errors.Join(l.Close(), l.open()); err != nil || l.file == nil {
		return counts, err
	}
	if err := l.take(counts); err != nil {
		return counts, fmt.Errorf("read nginx's access log: %w", err)
	}
	return counts, nil
}

// open opens the log, at its end the first time.
func (l *AccessLog) open() error {
	f, err := os.Open(l.path)
	begun := l.begun
	l.begun = true
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("nginx's access log: %w", err)
	}
	l.file, l.at, l.rest = f, 0, nil
	if !begun {
		if l.at, err = f.Seek(0, io.SeekEnd); err != nil {
			return errors.Join(fmt.Errorf("nginx's access log: %w", err), l.Close())
		}
	}
	return nil
}

// moved says whether the path names another file by now, or none.
func (l *AccessLog) moved() (bool, error) {
	here, err := l.file.Stat()
	if err != nil {
		return false, fmt.Errorf("nginx's access log: %w", err)
	}
	there, err := os.Stat(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		// nginx goes on writing to the old file until it is told to reopen.
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("nginx's access log: %w", err)
	}
	return !os.SameFile(here, there), nil
}

// take counts what was appended.
func (l *AccessLog) take(counts map[string]accesslog.Counts) error {
	info, err := l.file.Stat()
	if err != nil {
		return err
	}
	switch size := info.Size(); {
	case size < l.at:
		l.at, l.rest = 0, nil
	case size-l.at > accessMost:
		l.at, l.rest = size-accessMost, nil
	}
	if l.buf == nil {
		l.buf = make([]byte, accessBlock)
	}
	for {
		n, err := l.file.ReadAt(l.buf, l.at)
		l.at += int64(n)
		l.lines(l.buf[:n], counts)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// lines counts whole lines, and keeps the beginning of one that is not.
func (l *AccessLog) lines(data []byte, counts map[string]accesslog.Counts) {
	for {
		end := bytes.IndexByte(data, '\n')
		if end < 0 {
			break
		}
		line := data[:end]
		if len(l.rest) > 0 {
			line = append(l.rest, line...)
			l.rest = nil
		}
		for a := range accesslog.Parse(line) {
			c := counts[a.Address]
			c.Add(a)
			counts[a.Address] = c
		}
		data = data[end+1:]
	}
	if len(l.rest)+len(data) > accessBlock {
		// No line of nginx's is that long.
		l.rest = nil
		return
	}
	l.rest = append(l.rest, data...)
}

// Close closes the file. The next Read opens it anew.
func (l *AccessLog) Close() error {
	if l.file == nil {
		return nil
	}
	f := l.file
	l.file = nil
	if err := f.Close(); err != nil {
		return fmt.Errorf("nginx's access log: %w", err)
	}
	return nil
}
