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

// A log or an image is sent as frames: one byte that says what it is, four that
// say how long, big-endian, and the bytes. The last frame is the end, with an
// error's text or empty; what has none was cut off.
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
func (w *frameWriter) of(kind byte) io.Writer { return half{w, kind} }

type half struct {
	*frameWriter
	kind byte
}

// Write implements io.Writer.
func (s half) Write(p []byte) (n int, err error) {
	for n < len(p) {
		part := p[n:min(len(p), n+maxFrame)]
		if err := s.frame(s.kind, part); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

// stream serves a call whose answer is two streams.
func stream[In any](mux *http.ServeMux, path string, call func(ctx context.Context, in In, stdout, stderr io.Writer) error) {
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		var in In
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		out := &frameWriter{out: w, rc: http.NewResponseController(w)}
		err := call(r.Context(), in, out.of(frameOut), out.of(frameErr))
		if r.Context().Err() == nil {
			out.end(err)
		}
	})
}

// end sends the last frame.
func (w *frameWriter) end(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	// Where this fails, the caller misses the end and says so.
	_ = w.frame(frameEnd, []byte(text))
}

// Logs is Node's.
func (c *Client) Logs(ctx context.Context, address string, q LogQuery, stdout, stderr io.Writer) error {
	if err := c.stream(ctx, address, pathLogs, q, stdout, stderr); err != nil {
		return fmt.Errorf("log: %w", err)
	}
	return nil
}

// Image is Node's.
func (c *Client) Image(ctx context.Context, address, image string, to io.Writer) error {
	if err := c.stream(ctx, address, pathImage, fetchBody{image}, to, io.Discard); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	return nil
}

// stream makes a call whose answer is two streams.
func (c *Client) stream(ctx context.Context, address, path string, body any, stdout, stderr io.Writer) (err error) {
	response, err := c.post(ctx, address, path, body)
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
			return fmt.Errorf("the answer of %s was cut off: %w", address, err)
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
			return fmt.Errorf("the answer of %s is not in order: a frame of kind %d", address, kind)
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
