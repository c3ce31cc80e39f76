package nginx_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/supervisord/supervisord/lbconfig"
)

func TestRequestsReachTheirSite(t *testing.T) {
	p := startNginx(t)
	echo := backend(t, "", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Frame-Options", "DENY")
		fmt.Fprintf(w, "%s %s from=%s proto=%s id=%d connection=%q", r.Host, r.URL.Path, r.Header.Get("X-Forwarded-For"),
			r.Header.Get("X-Forwarded-Proto"), len(r.Header.Get("X-Request-Id")), r.Header.Get("Connection"))
	})
	any := site("any", backend(t, "any"))
	any.Ingress.Hosts = []string{"_"}
	wild := site("wild", backend(t, "wild"))
	wild.Ingress.Hosts = []string{"*.wild.test"}
	p.serve(site("echo", echo), wild, site("empty"))

	a := p.do("GET /a/b", "Host: echo.test", "Upgrade: h2c", "Connection: Upgrade")
	if want := `echo.test /a/b from=127.0.0.1 proto=http id=32 connection=""`; a.body != want {
		t.Errorf("the backend sees %s, want %s", a.body, want)
	}
	if a.Header.Get("X-Content-Type-Options") != "nosniff" || a.Header.Get("Server") != "nginx" {
		t.Errorf("headers %v", a.Header)
	}
	if got := a.Header.Values("X-Frame-Options"); len(got) != 1 || got[0] != "DENY" {
		t.Errorf("X-Frame-Options is %q, want the backend's own", got)
	}
	for line, want := range map[string]string{
		"x.wild.test /":        "200 wild",
		"wild.test /":          "404 no such site\n",
		"unknown.test /":       "404 no such site\n",
		"unknown.test /health": "200 ok\n",
		"empty.test /health":   `503 {"error":"service_unavailable","message":"no instance is ready"}` + "\n",
	} {
		host, path, _ := strings.Cut(line, " ")
		if a := p.do("GET "+path, "Host: "+host); fmt.Sprint(a.StatusCode, " ", a.body) != want {
			t.Errorf("%s: %d %q, want %s", line, a.StatusCode, a.body, want)
		}
	}
	if a := p.do("GET /", "Host: empty.test"); a.Header.Get("Retry-After") != "1" || a.Header.Get("Content-Type") != "application/json" {
		t.Errorf("headers of an empty site: %v", a.Header)
	}
	for path, want := range map[string]string{"/generation": "1\n", "/health": "ok\n", "/status": "Active connections"} {
		if a := p.do("GET http://" + p.status + path); a.StatusCode != 200 || !strings.HasPrefix(a.body, want) {
			t.Errorf("%s: %d %q, want %q", path, a.StatusCode, a.body, want)
		}
	}

	p.serve(site("echo", echo), wild, any)
	for host, want := range map[string]string{"unknown.test": "any", "127.0.0.1": "any", "x.wild.test": "wild"} {
		if a := p.do("GET /", "Host: "+host); a.body != want {
			t.Errorf("%s with a site for any host: %q, want %q", host, a.body, want)
		}
	}
}

func TestRateLimit(t *testing.T) {
	p := startNginx(t)
	s := site("a", backend(t, "ok"))
	s.Ingress.RateLimit = &lbconfig.RateLimit{PerSecond: 0.1, Burst: 2}
	p.serve(s)
	codes := map[int]int{}
	for range 5 {
		a := p.do("GET /", "Host: a.test")
		codes[a.StatusCode]++
		if retry := a.Header.Get("Retry-After"); (a.StatusCode == 429) != (retry == "1") {
			t.Errorf("status %d with Retry-After %q", a.StatusCode, retry)
		}
	}
	if codes[200] != 3 || codes[429] != 2 {
		t.Errorf("statuses %v, want one and a burst of 2 served, and the rest 429", codes)
	}
}

func TestCORS(t *testing.T) {
	p := startNginx(t)
	var seen atomic.Int32
	s := site("a", backend(t, "", func(w http.ResponseWriter, _ *http.Request) {
		seen.Add(1)
		w.Header().Set("Access-Control-Allow-Origin", "https://wrong.test")
		w.WriteHeader(http.StatusTeapot)
	}))
	s.Ingress.CORS = &lbconfig.CORS{Origins: []string{"https://app.test"}, Methods: []string{"GET", "PUT"}, Headers: []string{"X-Tenant"}, Credentials: true, MaxAge: time.Minute}
	open := site("open", backend(t, "ok"))
	open.Ingress.CORS = &lbconfig.CORS{Origins: []string{"*"}}
	p.serve(s, open)

	header := func(a answer, names ...string) string {
		var all []string
		for _, n := range names {
			all = append(all, strings.Join(a.Header.Values(n), "+"))
		}
		return strings.Join(all, "|")
	}
	const origin, methods, credentials = "Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "Access-Control-Allow-Credentials"
	a := p.do("OPTIONS /x", "Host: a.test", "Origin: https://app.test", "Access-Control-Request-Method: PUT")
	got := fmt.Sprint(a.StatusCode, " ", header(a, origin, methods, credentials, "Access-Control-Allow-Headers", "Access-Control-Max-Age", "Vary"))
	if want := "204 https://app.test|GET, PUT|true|X-Tenant|60|Origin"; got != want || seen.Load() != 0 {
		t.Errorf("preflight: %s, want %s; the backend saw %d requests", got, want, seen.Load())
	}
	a = p.do("GET /x", "Host: a.test", "Origin: https://app.test")
	if got := fmt.Sprint(a.StatusCode, " ", header(a, origin, methods, credentials)); got != "418 https://app.test||true" {
		t.Errorf("request: %s", got)
	}
	for _, other := range []string{"https://evil.test", "https://app.test.evil.test", "null"} {
		a = p.do("GET /x", "Host: a.test", "Origin: "+other)
		if got := header(a, origin, methods, credentials, "Vary"); got != "|||Origin" {
			t.Errorf("origin %s: %s", other, got)
		}
	}
	if a := p.do("OPTIONS /x", "Host: a.test"); a.StatusCode != 418 {
		t.Errorf("an OPTIONS that is no preflight: %d, want the backend's answer", a.StatusCode)
	}
	if a := p.do("GET /x", "Host: open.test", "Origin: https://any.test"); header(a, origin, "Vary") != "*|" {
		t.Errorf("any origin: %v", a.Header)
	}
}

func TestStaticCache(t *testing.T) {
	p := startNginx(t)
	var hits atomic.Int32
	s := site("a", backend(t, "", func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/private") {
			w.Header().Set("Cache-Control", "private")
		}
		fmt.Fprint(w, hits.Add(1))
	}))
	s.Ingress.Static = []lbconfig.Static{{Path: "/assets", MaxAge: time.Hour}}
	p.serve(s)
	for _, tt := range []struct{ path, header, body, cache, control string }{
		{"/assets/a.js", "", "1", "MISS", "max-age=3600"},
		{"/assets/a.js", "", "1", "HIT", "max-age=3600"},
		{"/assets/a.js", "Authorization: Bearer x", "2", "BYPASS", "max-age=3600"},
		{"/assets/private", "", "3", "MISS", "private"},
		{"/assets/private", "", "4", "MISS", "private"},
		{"/assets-old", "", "5", "", ""},
		{"/assets-old", "", "6", "", ""},
		{"/assets", "", "7", "MISS", "max-age=3600"},
		{"/assets", "", "7", "HIT", "max-age=3600"},
	} {
		headers := []string{"Host: a.test"}
		if tt.header != "" {
			headers = append(headers, tt.header)
		}
		a := p.do("GET "+tt.path, headers...)
		if a.body != tt.body || a.Header.Get("X-Cache-Status") != tt.cache || a.Header.Get("Cache-Control") != tt.control || a.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %s: %q %v, want %+v", tt.path, tt.header, a.body, a.Header, tt)
		}
	}
}

func TestStickyCookie(t *testing.T) {
	p := startNginx(t)
	var backends []string
	for i := range 3 {
		backends = append(backends, backend(t, fmt.Sprint(i)))
	}
	s := site("a", backends...)
	s.Ingress.StickyCookie = "sid"
	p.serve(s)
	seen := map[string]map[string]bool{"with": {}, "without": {}}
	for range 40 {
		seen["with"][p.do("GET /", "Host: a.test", "Cookie: x=1; sid=client-7").body] = true
		seen["without"][p.do("GET /", "Host: a.test").body] = true
	}
	if len(seen["with"]) != 1 || len(seen["without"]) != 3 {
		t.Errorf("backends seen: %v", seen)
	}
}

func TestAnotherInstanceIsTried(t *testing.T) {
	p := startNginx(t)
	var swallowed atomic.Int32
	swallow := backend(t, "", func(w http.ResponseWriter, _ *http.Request) {
		swallowed.Add(1)
		panic(http.ErrAbortHandler) // ends the connection without an answer
	})
	good := backend(t, "ok")
	even := func(s lbconfig.Site) lbconfig.Site { s.Ingress.Balance = lbconfig.BalanceRoundRobin; return s }
	p.serve(even(site("get", swallow, good)), even(site("post", swallow, good)), even(site("dead", freeAddress(t), good)))
	ask := func(line, host string) map[int]int {
		codes := map[int]int{}
		for range 2 {
			codes[p.do(line, "Host: "+host+".test").StatusCode]++
		}
		return codes
	}
	if codes := ask("GET /", "get"); codes[200] != 2 || swallowed.Swap(0) == 0 {
		t.Errorf("GETs, one swallowed: %v", codes)
	}
	if codes := ask("POST /", "post"); codes[200] != 1 || codes[502] != 1 || swallowed.Load() != 1 {
		t.Errorf("POSTs, one swallowed: %v, sent %d times; it must not be repeated", codes, swallowed.Load())
	}
	if codes := ask("POST /", "dead"); codes[200] != 2 {
		t.Errorf("POSTs, one refused before it was sent: %v", codes)
	}
}

func TestWebSocketUpgrade(t *testing.T) {
	p := startNginx(t)
	p.serve(site("a", backend(t, "", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" || !strings.EqualFold(r.Header.Get("Connection"), "upgrade") {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_ = rw.Flush()
		_, _ = io.Copy(conn, rw)
	})))
	conn, err := net.Dial("tcp", p.public)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n")
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v %v", resp, err)
	}
	fmt.Fprint(conn, "ping")
	got := make([]byte, 4)
	if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, []byte("ping")) {
		t.Errorf("%q %v", got, err)
	}
}

// TestStreamsAreNotHeldBack has a backend that sends the next event only when
// the client has got the one before.
func TestStreamsAreNotHeldBack(t *testing.T) {
	p := startNginx(t)
	got := make(chan struct{})
	p.serve(site("a", backend(t, "", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.Header.Get("Accept"))
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-got:
			case <-r.Context().Done():
				return
			}
		}
	})))
	for _, kind := range []string{"text/event-stream", "application/json"} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, "GET", "http://"+p.public+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "a.test"
		req.Header.Set("Accept", kind)
		req.Header.Set("Accept-Encoding", "gzip")
		if kind == "application/json" {
			req.Header.Del("Accept-Encoding") // gzip holds back by nature
			req.Header.Set("Accept-Encoding", "identity")
		}
		resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(resp.Body)
		for i := range 3 {
			if !lines.Scan() || lines.Text() != fmt.Sprint("data: ", i) || !lines.Scan() {
				t.Fatalf("%s: event %d: %q %v", kind, i, lines.Text(), lines.Err())
			}
			got <- struct{}{}
		}
		_ = resp.Body.Close()
	}
}
