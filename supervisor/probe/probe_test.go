package probe

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve answers each connection with talk and returns the address.
func serve(t *testing.T, talk func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			talk(conn)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

// says answers the first request, of whatever length, with text.
func says(text string) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = io.WriteString(c, text)
	}
}

// greets speaks first.
func greets(text string) func(net.Conn) {
	return func(c net.Conn) { _, _ = io.WriteString(c, text) }
}

// talk is how a server of the kind begins.
func talk(kind Kind) func(text string) func(net.Conn) {
	if kind == MySQL || kind == TCP {
		return greets
	}
	return says
}

// silent answers nothing until the other side goes.
func silent(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// check fails the test unless err is of the kind (nil: no error) and says all
// of the words.
func check(t *testing.T, err, kind error, words ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("got %v, want %v", err, kind)
	}
	for _, other := range []error{ErrRefused, ErrTimeout, ErrBadAnswer} {
		if other != kind && errors.Is(err, other) {
			t.Errorf("%v is also %v", err, other)
		}
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}

func TestEveryKindTellsWhyThereIsNoAnswer(t *testing.T) {
	for _, kind := range []Kind{HTTP, TCP, Postgres, MySQL, Redis} {
		t.Run(string(kind)+" refused", func(t *testing.T) {
			_, err := New().Probe(t.Context(), Check{Kind: kind, Address: closedPort(t)})
			check(t, err, ErrRefused, "refused")
		})
		t.Run(string(kind)+" hangs up", func(t *testing.T) {
			_, err := New().Probe(t.Context(), Check{Kind: kind, Address: serve(t, talk(kind)(""))})
			check(t, err, ErrBadAnswer)
		})
		t.Run(string(kind)+" cancelled", func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			address := serve(t, func(c net.Conn) { cancel(); silent(c) })
			_, err := New().Probe(ctx, Check{Kind: kind, Address: address})
			check(t, err, context.Canceled)
		})
		if kind == TCP {
			continue // A connection that stays open is all it wants.
		}
		t.Run(string(kind)+" silent", func(t *testing.T) {
			_, err := New().Probe(t.Context(), Check{Kind: kind, Address: serve(t, silent), Timeout: 50 * time.Millisecond})
			check(t, err, ErrTimeout)
		})
		t.Run(string(kind)+" another protocol", func(t *testing.T) {
			_, err := New().Probe(t.Context(), Check{Kind: kind, Address: serve(t, talk(kind)("SSH-2.0-OpenSSH_9.2\r\n"))})
			check(t, err, ErrBadAnswer)
		})
	}
}

func TestUnknownKindIsRefusedByName(t *testing.T) {
	_, err := New().Probe(t.Context(), Check{Kind: "oracle", Address: "127.0.0.1:1"})
	if err == nil || !strings.Contains(err.Error(), `unknown kind "oracle"`) {
		t.Fatalf("got %v", err)
	}
}

func TestTCPTakesAServerThatSpeaksFirst(t *testing.T) {
	_, err := New().Probe(t.Context(), Check{Kind: TCP, Address: serve(t, greets("220 hello"))})
	check(t, err, nil)
}

func TestTCPWantsAConnectionThatStaysOpen(t *testing.T) {
	r, err := New().Probe(t.Context(), Check{Kind: TCP, Address: serve(t, silent)})
	check(t, err, nil)
	if r.Latency <= 0 {
		t.Errorf("latency %s", r.Latency)
	}
}

func TestHTTP(t *testing.T) {
	for _, tc := range []struct {
		name   string
		status int
		body   string
		kind   error
		words  []string
	}{
		{"200", 200, "fine", nil, nil},
		{"204", 204, "", nil, nil},
		{"a redirect is good and not followed", 302, "", nil, nil},
		{"503 with a reason", 503, "database\n\x1b[31mgone\x00", ErrBadAnswer, []string{"GET /health?deep=1: 503 Service Unavailable: database [31mgone"}},
		{"500 without a body", 500, "", ErrBadAnswer, []string{"GET /health?deep=1: 500 Internal Server Error"}},
		{"404", 404, "404 page not found", ErrBadAnswer, []string{"404 Not Found"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var asked atomic.Int32
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				if r.URL.String() != "/health?deep=1" || r.Method != http.MethodGet || r.UserAgent() != "supervisord/health" || !r.Close {
					t.Errorf("%s %s by %q, close %t", r.Method, r.URL, r.UserAgent(), r.Close)
				}
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.body)
			}))
			defer s.Close()
			_, err := New().Probe(t.Context(), Check{Kind: HTTP, Address: s.Listener.Addr().String(), Path: "/health?deep=1"})
			check(t, err, tc.kind, tc.words...)
			if asked.Load() != 1 {
				t.Errorf("asked %d times, want once", asked.Load())
			}
		})
	}
}

func TestHTTPQuotesNoMoreThan200Bytes(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
		_, _ = io.WriteString(w, strings.Repeat("x", 10_000))
	}))
	defer s.Close()
	_, err := New().Probe(t.Context(), Check{Kind: HTTP, Address: s.Listener.Addr().String(), Path: "/"})
	check(t, err, ErrBadAnswer, strings.Repeat("x", 200))
	if n := strings.Count(err.Error(), "x"); n != 200 {
		t.Errorf("quotes %d bytes, want 200", n)
	}
}

func TestHTTPReadsABoundedPartOfAnEndlessBody(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 32<<10)); err != nil {
				return
			}
		}
	}))
	defer s.Close()
	_, err := New().Probe(t.Context(), Check{Kind: HTTP, Address: s.Listener.Addr().String()})
	check(t, err, nil)
}

func TestHTTPBodyCutShortIsABadAnswer(t *testing.T) {
	address := serve(t, says("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"))
	_, err := New().Probe(t.Context(), Check{Kind: HTTP, Address: address})
	check(t, err, ErrBadAnswer, "GET /: 200 OK: body: unexpected EOF")
}

func TestHTTPPathMustBeAPath(t *testing.T) {
	_, err := New().Probe(t.Context(), Check{Kind: HTTP, Address: "127.0.0.1:1", Path: "@evil.example/"})
	if err == nil || !strings.Contains(err.Error(), "begins with /") {
		t.Fatalf("got %v", err)
	}
}

func TestRedisAnswers(t *testing.T) {
	for _, tc := range []struct {
		answer string
		kind   error
		words  []string
	}{
		{"+PONG\r\n", nil, nil},
		{"-NOAUTH Authentication required.\r\n", nil, nil},
		{"-NOPERM this user has no permissions to run the 'ping' command\r\n", nil, nil},
		{"-ERR max number of clients reached\r\n", nil, nil},
		{"-LOADING Redis is loading the dataset in memory\r\n", ErrBadAnswer, []string{"LOADING"}},
		{"-MASTERDOWN Link with MASTER is down\r\n", ErrBadAnswer, []string{"MASTERDOWN"}},
		{"-DENIED Redis is running in protected mode\r\n", ErrBadAnswer, []string{"protected mode"}},
		{"+PONGO\r\n", ErrBadAnswer, nil},
		{strings.Repeat("+", 4096), ErrBadAnswer, []string{"no line"}},
	} {
		t.Run(strings.TrimSpace(tc.answer[:min(20, len(tc.answer))]), func(t *testing.T) {
			_, err := New().Probe(t.Context(), Check{Kind: Redis, Address: serve(t, says(tc.answer))})
			check(t, err, tc.kind, tc.words...)
		})
	}
}

// pgMessage frames one message of PostgreSQL's protocol.
func pgMessage(kind byte, body string) string {
	return string(binary.BigEndian.AppendUint32([]byte{kind}, uint32(4+len(body)))) + body
}

func pgError(code, text string) string {
	return pgMessage('E', "SFATAL\x00VFATAL\x00C"+code+"\x00M"+text+"\x00\x00")
}

func TestPostgresAnswers(t *testing.T) {
	auth := func(n byte, rest string) string { return pgMessage('R', "\x00\x00\x00"+string(rune(n))+rest) }
	for _, tc := range []struct {
		name, answer string
		kind         error
		words        []string
	}{
		{"no password wanted", auth(0, ""), nil, nil},
		{"clear text password wanted", auth(3, ""), nil, nil},
		{"md5 password wanted", auth(5, "salt"), nil, nil},
		{"SCRAM wanted", auth(10, "SCRAM-SHA-256\x00\x00"), nil, nil},
		{"a notice first", pgMessage('N', "SNOTICE\x00Mhello\x00\x00") + auth(3, ""), nil, nil},
		{"no such role", pgError("28000", `role "postgres" does not exist`), nil, nil},
		{"wrong password", pgError("28P01", "password authentication failed"), nil, nil},
		{"no such database", pgError("3D000", `database "postgres" does not exist`), nil, nil},
		{"at its limit", pgError("53300", "sorry, too many clients already"), nil, nil},
		{"starting up", pgError("57P03", "the database system is starting up"), ErrBadAnswer, []string{"starting up", "57P03"}},
		{"shutting down", pgError("57P01", "terminating connection"), ErrBadAnswer, []string{"57P01"}},
		{"broken", pgError("XX000", "could not open relation mapping file"), ErrBadAnswer, []string{"XX000"}},
		{"too long a message", "R\x7f\xff\xff\xff", ErrBadAnswer, nil},
		{"out of turn", pgMessage('Z', "I"), ErrBadAnswer, []string{"unexpected message"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := New().Probe(t.Context(), Check{Kind: Postgres, Address: serve(t, says(tc.answer))})
			check(t, err, tc.kind, tc.words...)
		})
	}
}

func mysqlPacket(seq byte, body string) string {
	n := len(body)
	return string([]byte{byte(n), byte(n >> 8), byte(n >> 16), seq}) + body
}

const mysqlGreeting = "\x0a8.0.36\x00\x01\x00\x00\x00challeng\x00\xff\xf7\x21\x02\x00\xff\x81\x15"

func TestMySQLGreetings(t *testing.T) {
	for _, tc := range []struct {
		name, greeting string
		kind           error
		words          []string
	}{
		{"host blocked", mysqlPacket(0, "\xff\x69\x04Host 'a' is blocked"), ErrBadAnswer, []string{"error 1129", "is blocked"}},
		{"host not allowed", mysqlPacket(0, "\xff\x6a\x04#HY000Host 'a' is not allowed"), ErrBadAnswer, []string{"error 1130: Host 'a'"}},
		{"at its limit", mysqlPacket(0, "\xff\x10\x04Too many connections"), nil, nil},
		{"protocol 9", mysqlPacket(0, "\x093.20\x00"), ErrBadAnswer, []string{"protocol 9"}},
		{"cut short", mysqlPacket(0, "\x0a8.0.36\x00\x01"), ErrBadAnswer, []string{"cut short"}},
		{"no version", mysqlPacket(0, "\x0a8.0.36"), ErrBadAnswer, []string{"cut short"}},
		{"empty", mysqlPacket(0, ""), ErrBadAnswer, []string{"length 0"}},
		{"error cut short", mysqlPacket(0, "\xff\x10"), ErrBadAnswer, []string{"cut short"}},
		{"packet cut short", "\x40\x00\x00\x00\x0a8.0", ErrBadAnswer, []string{"cut short"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			address := serve(t, greets(tc.greeting))
			_, err := New().Probe(t.Context(), Check{Kind: MySQL, Address: address})
			check(t, err, tc.kind, tc.words...)
		})
	}
}

func TestMySQLLogins(t *testing.T) {
	denied := "\xff\x15\x04#28000Access denied"
	for _, tc := range []struct {
		name    string
		replies []string
		kind    error
		words   []string
	}{
		{"denied", []string{denied}, nil, nil},
		{"open to all", []string{"\x00\x00\x00\x02\x00\x00\x00"}, nil, nil},
		{"another plugin, then denied", []string{"\xfecaching_sha2_password\x00salt", "\x01\x04", denied}, nil, nil},
		{"shutting down", []string{"\xff\x1d\x04#08S01Server shutdown in progress"}, ErrBadAnswer, []string{"error 1053", "shutdown"}},
		{"never decides", []string{"\x01\x04", "\x01\x04", "\x01\x04", "\x01\x04", "\x01\x04"}, ErrBadAnswer, []string{"no decision"}},
		{"nonsense", []string{"\x55"}, ErrBadAnswer, []string{"0x55"}},
		{"hangs up", nil, ErrBadAnswer, []string{"login"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			address := serve(t, func(c net.Conn) {
				_, _ = io.WriteString(c, mysqlPacket(0, mysqlGreeting))
				r := bufio.NewReader(c)
				for n, reply := range tc.replies {
					_, seq, err := readMySQLEmpty(r)
					if err != nil {
						return
					}
					if want := byte(1 + 2*n); seq != want {
						t.Errorf("packet %d, want %d", seq, want)
					}
					_, _ = io.WriteString(c, mysqlPacket(seq+1, reply))
				}
				_, _ = r.Read(make([]byte, 1024))
			})
			_, err := New().Probe(t.Context(), Check{Kind: MySQL, Address: address})
			check(t, err, tc.kind, tc.words...)
		})
	}
}

// readMySQLEmpty reads one packet as a server does, which takes empty ones.
func readMySQLEmpty(r io.Reader) (payload []byte, seq byte, err error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, 0, err
	}
	payload = make([]byte, int(head[0])|int(head[1])<<8|int(head[2])<<16)
	_, err = io.ReadFull(r, payload)
	return payload, head[3], err
}
