package sample

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
)

// file is one of the kernel's files, read anew from its start each time. An
// os.File would read twice, to see the end: for memory.stat the kernel would
// gather all its figures twice.
type file struct {
	fd   int
	path string
}

func openFile(path string) (*file, error) {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return &file{fd, path}, nil
}

// close cannot fail in a way that matters for a file that was only read.
func (f *file) close() { _ = syscall.Close(f.fd) }

// reader reads files into one buffer and remembers the first error, so that a
// group's figures read like a list.
type reader struct {
	buffer []byte
	err    error
}

// text returns the content of a file, valid until the next one is read; a nil
// file is empty.
func (r *reader) text(f *file) []byte {
	if f == nil || r.err != nil {
		return nil
	}
	for {
		n, err := syscall.Pread(f.fd, r.buffer, 0)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			r.err = &os.PathError{Op: "read", Path: f.path, Err: err}
			return nil
		case n < len(r.buffer):
			return r.buffer[:n]
		default:
			r.buffer = make([]byte, 2*len(r.buffer))
		}
	}
}

// number reads a file of one number; 0 where the file is nil. What is no
// number means "none" in these files, "max" and "-1", and is 0.
func (r *reader) number(f *file) uint64 { return digits(r.text(f)) }

// field finds "name number" in a text of such lines.
func (r *reader) field(text []byte, f *file, name string, required bool) uint64 {
	if r.err != nil {
		return 0
	}
	for rest := text; len(rest) > 0; {
		i := bytes.Index(rest, []byte(name))
		if i < 0 {
			break
		}
		end := i + len(name)
		if (i == 0 || rest[i-1] == '\n') && end < len(rest) && rest[end] == ' ' {
			return digits(rest[end+1:])
		}
		rest = rest[end:]
	}
	if required {
		r.err = fmt.Errorf("%s has no line %q", f.path, name)
	}
	return 0
}

// digits reads the number that a text begins with; 0 where it does not.
func digits(text []byte) uint64 {
	var n uint64
	for _, c := range text {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + uint64(c-'0')
	}
	return n
}
