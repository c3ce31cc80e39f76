package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
)

// answer turns a function of a request into a handler: what it returns is the
// body, an error is answered as one.
func (s *server) answer(f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := f(r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		s.write(w, r, http.StatusOK, body)
	}
}

// fail answers an error; one that is not ours is our own failure.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		s.Log.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "err", err)
		e = &Error{Status: http.StatusInternalServerError, Message: "the daemon failed to answer", Hint: "its log says why"}
	}
	s.write(w, r, e.Status, e)
}

// write encodes first and sends then, so that a body that cannot be encoded
// does not become half an answer.
func (s *server) write(w http.ResponseWriter, r *http.Request, status int, body any) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(body); err != nil {
		s.Log.ErrorContext(r.Context(), "cannot encode an answer", "path", r.URL.Path, "err", err)
		http.Error(w, `{"error":"the daemon failed to answer"}`, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		s.Log.DebugContext(r.Context(), "the caller went away", "path", r.URL.Path, "err", err)
	}
}
