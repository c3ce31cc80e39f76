package certs

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

// challengePath is where a CA asks (RFC 8555, 8.3).
const challengePath = "/.well-known/acme-challenge/"

const (
	// answerWithin is how long an answer is waited for: another host has put it
	// into the Store a moment ago, and the CA may be here before it is.
	answerWithin = 2 * time.Second
	// mostWaiting bounds how many questions wait at once: anybody may ask.
	mostWaiting = 64
)

// ServeHTTP answers a CA's questions, whichever host ordered: what is asked for
// is in the Store. It answers nothing else.
func (m *Manager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token, ok := strings.CutPrefix(r.URL.Path, challengePath)
	if !ok || token == "" || r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.NotFound(w, r)
		return
	}
	answer := m.await(r.Context(), token)
	if answer == "" {
		m.Log.DebugContext(r.Context(), "a CA asks for what nobody has ordered", "host", r.Host)
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	_, err := io.WriteString(w, answer)
	m.Log.InfoContext(r.Context(), "answered a CA", "host", r.Host, "err", err)
}

// await returns the answer to a token, "" where there is none in time.
func (m *Manager) await(ctx context.Context, token string) string {
	changed := m.Store.Changed()
	if answer := m.answer(ctx, token); answer != "" {
		return answer
	}
	if m.waiting.Add(1) > mostWaiting {
		m.waiting.Add(-1)
		return ""
	}
	defer m.waiting.Add(-1)
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return ""
		case <-changed:
		}
		changed = m.Store.Changed()
		if answer := m.answer(ctx, token); answer != "" {
			return answer
		}
	}
}

func (m *Manager) answer(ctx context.Context, token string) string {
	for _, key := range m.Store.List("acme") {
		if !strings.Contains(key, "/challenge_tokens/") {
			continue
		}
		f, err := m.Store.Load(key)
		if err != nil {
			m.Log.InfoContext(ctx, "an answer for a CA cannot be read", "key", key, "err", err)
			continue
		}
		var c acme.Challenge
		if err := json.Unmarshal(f.Data, &c); err == nil && c.Token == token {
			return c.KeyAuthorization
		}
	}
	return ""
}
