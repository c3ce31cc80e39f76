package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"slices"
	"strings"
)

// guard lets requests through that are meant for this server and do not come
// from a page of somebody else, and answers those that nothing is there for.
func (s *server) guard(mux *http.ServeMux) http.Handler {
	cross := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		if !s.Trusted && !s.addressed(r.Host) {
			s.fail(w, r, &Error{
				Status:  http.StatusMisdirectedRequest,
				Message: "this server is not known by the name in the Host header",
				Hint:    "use its IP address or localhost",
			})
			return
		}
		if cross.Check(r) != nil {
			s.fail(w, r, &Error{
				Status:  http.StatusForbidden,
				Message: "requests that change something are not taken from pages of another origin",
				Hint:    "use the command line on the host, or a client that is no browser",
			})
			return
		}
		if _, pattern := mux.Handler(r); pattern == "" {
			s.nothing(mux, w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// addressed says whether a Host header names this server. A page can make a
// browser resolve its own name to a loopback address, and never make it send
// another name.
func (s *server) addressed(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	if name == "localhost" || slices.Contains(s.Hosts, name) {
		return true
	}
	return net.ParseIP(strings.Trim(name, "[]")) != nil
}

// nothing answers in our form where the mux would in plain text: an unknown
// path, or a method that a path does not have.
func (s *server) nothing(mux *http.ServeMux, w http.ResponseWriter, r *http.Request) {
	said := headers{header: http.Header{}}
	mux.ServeHTTP(&said, r)
	if said.status == http.StatusMethodNotAllowed {
		allow := said.header.Get("Allow")
		w.Header().Set("Allow", allow)
		s.fail(w, r, &Error{Status: said.status, Message: r.Method + " is not possible here", Hint: "possible: " + allow})
		return
	}
	s.fail(w, r, &Error{Status: http.StatusNotFound, Message: "there is nothing at " + r.URL.Path})
}

// headers takes what a handler says of itself and drops its body.
type headers struct {
	header http.Header
	status int
}

func (h *headers) Header() http.Header         { return h.header }
func (h *headers) WriteHeader(status int)      { h.status = status }
func (h *headers) Write(p []byte) (int, error) { return len(p), nil }

// trusted lets only those through who came by the unix socket or have the
// token.
func (s *server) trusted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := s.authorize(r); err != nil {
			s.fail(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *server) authorize(r *http.Request) error {
	if s.Trusted {
		return nil
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	sent := strings.EqualFold(scheme, "Bearer") && token != ""
	switch {
	case s.Token == "":
		return &Error{
			Status:  http.StatusForbidden,
			Message: "this is only possible over the unix socket",
			Hint:    "use the command line as root on the host, or start the daemon with --token-file",
		}
	case !sent:
		return &Error{
			Status:  http.StatusForbidden,
			Message: "this needs the token",
			Hint:    "send it as Authorization: Bearer TOKEN (--token on the command line), or use the unix socket",
		}
	case !equal(token, s.Token):
		return &Error{Status: http.StatusForbidden, Message: "the token is wrong"}
	}
	return nil
}

// equal takes the same time whatever the strings have in common, their length
// included.
func equal(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
