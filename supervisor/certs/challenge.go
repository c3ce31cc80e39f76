package certs

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"github.com/mholt/acmez/v3/acme"
)

// challengePath is where a CA asks (RFC 8555, 8.3).
const challengePath = "/.well-known/acme-challenge/"

// ServeHTTP answers a CA's questions, whichever host ordered: what is asked for
// is in the Store. It answers nothing else.
func (m *Manager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token, ok := strings.CutPrefix(r.URL.Path, challengePath)
	if !ok || token == "" || r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.NotFound(w, r)
		return
	}
	for _, key := range m.Store.List("acme") {
		if !strings.Contains(key, "/challenge_tokens/") {
			continue
		}
		f, err := m.Store.Load(key)
		if err != nil {
			m.Log.InfoContext(r.Context(), "an answer for a CA cannot be read", "key", key, "err", err)
			continue
		}
		var c acme.Challenge
		if err := json.Unmarshal(f.Data, &c); err != nil || c.Token != token {
			continue
		}
		w.Header().Set("Content-Type", "text/plain")
		_, err = io.WriteString(w, c.KeyAuthorization)
		m.Log.InfoContext(r.Context(), "answered a CA", "host", r.Host, "err", err)
		return
	}
	m.Log.DebugContext(r.Context(), "a CA asks for what nobody has ordered", "host", r.Host)
	http.NotFound(w, r)
}
