package peer

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// A log is sent as frames: one byte that says what it is, four that say how
// long, big-endian, and the bytes. The last frame is the end, with an error's
// text or empty; a log without one was cut off.
const (
	frameOut byte = iota + 1
	frameErr
	frameEnd
)

// maxFrame bounds what a reader takes at once.
const maxFrame = 1 << 20

// frameWriter writes frames and sends each on at once.
type frameWriter struct {
	mu  sync.Mutex
	out io.Writer
	rc  *http.ResponseController
}

func (w *frameWriter) frame(kind byte, p []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var head [5]byte
	head[0] = kind
	binary.BigEndian.PutUint32(head[1:], uint32(len(p)))
	if _, err := w.out.Write(head[:]); err != nil {
		return err
	}
	if _, err := w.out.Write(p); err != nil {
		return err
	}
	return w.rc.Flush()
}

// of is one of the two streams.
func (w *frameWriter) of(kind byte) io.Writer { return stream{w, kind} }

type stream struct {
	*frameWriter
	kind byte
}

// Write implements io.Writer.
func (s stream) Write(p []byte) (n int, err error) {
	for n < len(p) {
		part := p[n:min(len(p), n+maxFrame)]
		if err := s.frame(s.kind, part); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

func serveLogs(n Node, w http.ResponseWriter, r *http.Request) {
	var q LogQuery
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&q); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	out := &frameWriter{out: w, rc: http.NewResponseController(w)}
	err := n.Logs(r.Context(), q, out.of(frameOut), out.of(frameErr))
	if r.Context().Err() != nil {
		return
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	// Where this fails, the caller misses the end and says so.
	_ = out.frame(frameEnd, []byte(text))
}

// Logs is Node's.
func (c *Client) Logs(ctx context.Context, address string, q LogQuery, stdout, stderr io.Writer) (err error) {
	response, err := c.post(ctx, address, pathLogs, q)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	if response.StatusCode != http.StatusOK {
		return &RemoteError{address, "answers " + response.Status}
	}
	for {
		kind, p, err := readFrame(response.Body)
		if err != nil {
			return fmt.Errorf("the log from %s was cut off: %w", address, err)
		}
		switch kind {
		case frameOut:
			_, err = stdout.Write(p)
		case frameErr:
			_, err = stderr.Write(p)
		case frameEnd:
			if len(p) > 0 {
				return &RemoteError{address, string(p)}
			}
			return nil
		default:
			return fmt.Errorf("the log from %s is not in order: a frame of kind %d", address, kind)
		}
		if err != nil {
			return err
		}
	}
}

func readFrame(r io.Reader) (kind byte, p []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	length := binary.BigEndian.Uint32(head[1:])
	if length > maxFrame {
		return 0, nil, fmt.Errorf("a frame of %d bytes", length)
	}
	p = make([]byte, length)
	_, err = io.ReadFull(r, p)
	return head[0], p, err
}
