package api

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/supervisord/supervisord/supervisor/state"
)

// maxBody bounds the body of a changing call.
const maxBody = 4 << 10

// scale sets a service's count by hand, or gives it back, and answers with
// the service as it is then.
func (s *server) scale(r *http.Request) (any, error) {
	name := r.PathValue("name")
	body, err := readScale(r)
	if err != nil {
		return nil, err
	}
	c, _ := s.backend.State()
	if _, ok := c.Spec.Services[name]; !ok {
		return nil, noService(name)
	}
	if err := s.propose(r, state.Hold{Service: name, Count: body.Count}); err != nil {
		return nil, err
	}
	s.Log.InfoContext(r.Context(), "an operator scales", "service", name, "count", body.Count)
	v := s.view()
	if _, ok := v.Spec.Services[name]; !ok {
		return nil, noService(name)
	}
	return v.service(name), nil
}

// propose commits a command and says in our terms why it was not.
func (s *server) propose(r *http.Request, cmd state.Command) error {
	refused, err := s.backend.Propose(r.Context(), cmd)
	if err != nil {
		return uncommitted(err)
	}
	for _, err := range refused {
		if errors.Is(err, state.ErrRefused) {
			return &Error{Status: http.StatusConflict, Message: reasonOf(err)}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// notCommitted says in our terms why the backend did not carry something out.
func notCommitted(err error) error {
	if _, ours := errors.AsType[*Error](err); ours {
		return err
	}
	if errors.Is(err, state.ErrRefused) {
		return &Error{Status: http.StatusConflict, Message: reasonOf(err)}
	}
	return uncommitted(err)
}

func uncommitted(err error) error {
	return &Error{
		Status:  http.StatusServiceUnavailable,
		Message: "the change is not known to be committed: " + err.Error(),
		Hint:    "without a leader nothing can be changed; look at the status and try again",
	}
}

// reasonOf is a refusal without the words before its reason.
func reasonOf(err error) string {
	_, reason, found := strings.Cut(err.Error(), state.ErrRefused.Error()+": ")
	if !found {
		return err.Error()
	}
	return reason
}

func readScale(r *http.Request) (Scale, error) {
	var body struct {
		Count json.RawMessage `json:"count"`
	}
	if err := readBody(r, &body); err != nil {
		return Scale{}, err
	}
	if body.Count == nil {
		return Scale{}, invalid(`body: "count" is missing: want a number, or null to give the service back to the load`)
	}
	var scale Scale
	if err := json.Unmarshal(body.Count, &scale.Count); err != nil {
		return Scale{}, invalid(`body: "count": want a whole number or null`)
	}
	return scale, nil
}

// readBody reads one JSON value of a known form.
func readBody(r *http.Request, into any) error { return readBodyOf(r, maxBody, into) }

// readBodyOf is readBody with a limit of its own.
func readBodyOf(r *http.Request, limit int64, into any) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return &Error{Status: http.StatusUnsupportedMediaType, Message: "the body's Content-Type is not application/json"}
	}
	decoder := json.NewDecoder(http.MaxBytesReader(nil, r.Body, limit))
	decoder.DisallowUnknownFields()
	err = decoder.Decode(into)
	if err == nil {
		// What follows is read too, so that it is not ignored.
		if _, err = decoder.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = errors.New("there is more than one value")
		}
	}
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return &Error{Status: http.StatusRequestEntityTooLarge, Message: "the body is too large"}
	}
	return invalid("body: %v", err)
}
