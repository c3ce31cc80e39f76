package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/api/apitest"
)

const scaleBackend = "/v1/services/backend/scale"

func TestScale(t *testing.T) {
	for _, c := range []struct {
		name, path, body string
		header           []string
		code             int
		want             string
		desired          int
		held             bool
	}{
		{name: "to a count", path: scaleBackend, body: `{"count": 7}`, code: 200, want: `"desired":7`, desired: 7, held: true},
		{name: "to auto", path: scaleBackend, body: `{"count": null}`, code: 200, want: `"desired":4`, desired: 4},
		{name: "over the maximum", path: scaleBackend, body: `{"count": 13}`, code: 409, want: `{"error":"13 is outside of backend's bounds: x-autoscale.min 2, max 12"}`, desired: 4},
		{name: "a second database", path: "/v1/services/postgres/scale", body: `{"count": 2}`, code: 409, want: "never duplicated", desired: 4},
		{name: "nobody", path: "/v1/services/nobody/scale", body: `{"count": 1}`, code: 404, want: `there is no service \"nobody\"`, desired: 4},
		{name: "no count", path: scaleBackend, body: `{}`, code: 400, want: `\"count\" is missing`, desired: 4},
		{name: "half", path: scaleBackend, body: `{"count": 2.5}`, code: 400, want: "whole number or null", desired: 4},
		{name: "words", path: scaleBackend, body: `{"count": "7"}`, code: 400, want: "whole number or null", desired: 4},
		{name: "an unknown field", path: scaleBackend, body: `{"count": 7, "force": true}`, code: 400, want: "force", desired: 4},
		{name: "two values", path: scaleBackend, body: `{"count": 7}{"count": 8}`, code: 400, want: "more than one value", desired: 4},
		{name: "no JSON", path: scaleBackend, body: `count=7`, code: 400, want: "body", desired: 4},
		{name: "too much", path: scaleBackend, body: `{"count": ` + strings.Repeat(" ", 5000) + `7}`, code: 413, want: "too large", desired: 4},
		{name: "a form", path: scaleBackend, body: `{"count": 7}`, header: []string{"Content-Type", "text/plain"}, code: 415, want: "application/json", desired: 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := apitest.Example()
			w := ask(handler(b), http.MethodPost, c.path, c.body, c.header...)
			if w.Code != c.code || !strings.Contains(w.Body.String(), c.want) {
				t.Errorf("%d %s, want %d %s", w.Code, w.Body, c.code, c.want)
			}
			cluster, _ := b.State()
			scale, _ := cluster.Scales.Get("backend")
			if scale.Desired != c.desired || (scale.Hold != nil) != c.held {
				t.Errorf("backend stands at %d, hold %v; want %d, held %v", scale.Desired, scale.Hold, c.desired, c.held)
			}
		})
	}
}

func TestWithoutALeaderNothingIsChanged(t *testing.T) {
	b := apitest.Example()
	b.LoseLeader()
	w := ask(handler(b), http.MethodPost, scaleBackend, `{"count": 7}`)
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "there is no leader") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// The matrix: who may read, and who may change.
func TestWhoMayDoWhat(t *testing.T) {
	const token = "s3cret-token"
	for _, c := range []struct {
		name    string
		trusted bool
		token   string
		header  []string
		read    int
		logs    int
		change  int
		says    string
	}{
		{name: "on the socket", trusted: true, read: 200, logs: 200, change: 200},
		{name: "on the socket, whatever the Host", trusted: true, header: []string{"Host", "evil.example"}, read: 200, logs: 200, change: 200},
		{name: "over TCP without a token set", read: 200, logs: 403, change: 403, says: "only possible over the unix socket"},
		{name: "an empty token is none", header: []string{"Authorization", "Bearer "}, read: 200, logs: 403, change: 403, says: "only possible over the unix socket"},
		{name: "any token where none is set", header: []string{"Authorization", "Bearer x"}, read: 200, logs: 403, change: 403, says: "only possible over the unix socket"},
		{name: "without the token", token: token, read: 200, logs: 403, change: 403, says: "needs the token"},
		{name: "with the token", token: token, header: []string{"Authorization", "Bearer " + token}, read: 200, logs: 200, change: 200},
		{name: "the scheme in small letters", token: token, header: []string{"Authorization", "bearer " + token}, read: 200, logs: 200, change: 200},
		{name: "with a wrong token", token: token, header: []string{"Authorization", "Bearer wrong"}, read: 200, logs: 403, change: 403, says: "the token is wrong"},
		{name: "with a part of the token", token: token, header: []string{"Authorization", "Bearer " + token[:5]}, read: 200, logs: 403, change: 403, says: "the token is wrong"},
		{name: "with another scheme", token: token, header: []string{"Authorization", "Basic " + token}, read: 200, logs: 403, change: 403, says: "needs the token"},
		{name: "a page of another origin, even with the token", token: token, header: []string{"Authorization", "Bearer " + token, "Sec-Fetch-Site", "cross-site"}, read: 200, logs: 200, change: 403, says: "another origin"},
		{name: "an older browser's page", token: token, header: []string{"Authorization", "Bearer " + token, "Origin", "https://evil.example"}, read: 200, logs: 200, change: 403, says: "another origin"},
		{name: "our own page", token: token, header: []string{"Authorization", "Bearer " + token, "Sec-Fetch-Site", "same-origin"}, read: 200, logs: 200, change: 200},
		{name: "a page of another origin on the socket", trusted: true, header: []string{"Sec-Fetch-Site", "cross-site"}, read: 200, logs: 200, change: 403, says: "another origin"},
		{name: "a name that was made to resolve here", token: token, header: []string{"Authorization", "Bearer " + token, "Host", "evil.example:9370"}, read: 421, logs: 421, change: 421, says: "Host header"},
		{name: "a name that begins like ours", token: token, header: []string{"Host", "localhost.evil.example"}, read: 421, logs: 421, change: 421, says: "Host header"},
		{name: "localhost", token: token, header: []string{"Host", "LocalHost:9370"}, read: 200, logs: 403, change: 403},
		{name: "an IPv6 address", token: token, header: []string{"Host", "[::1]:9370"}, read: 200, logs: 403, change: 403},
		{name: "a name it was told of", token: token, header: []string{"Host", "alpha.example:9370"}, read: 200, logs: 403, change: 403},
		{name: "no name", token: token, header: []string{"Host", ""}, read: 421, logs: 421, change: 421},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := handler(apitest.Example(), func(o *api.Options) {
				o.Trusted, o.Token, o.Hosts = c.trusted, c.token, []string{"alpha.example"}
			})
			for _, try := range []struct {
				method, path, body string
				want               int
			}{
				{http.MethodGet, "/v1/status", "", c.read},
				{http.MethodGet, "/metrics", "", c.read},
				{http.MethodGet, "/", "", c.read},
				{http.MethodGet, "/v1/logs/backend", "", c.logs},
				{http.MethodPost, scaleBackend, `{"count": 7}`, c.change},
			} {
				w := ask(h, try.method, try.path, try.body, c.header...)
				if w.Code != try.want {
					t.Errorf("%s %s: %d, want %d\n%s", try.method, try.path, w.Code, try.want, w.Body)
				}
				checkRefusal(t, w, c.says)
			}
		})
	}
}

func checkRefusal(t *testing.T, w *httptest.ResponseRecorder, says string) {
	t.Helper()
	if w.Code >= 400 && (!strings.HasPrefix(w.Body.String(), `{"error":`) || !strings.Contains(w.Body.String(), says)) {
		t.Errorf("%d %s, want an error about %q", w.Code, w.Body, says)
	}
}
