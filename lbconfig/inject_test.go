package lbconfig_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/supervisord/supervisord/lbconfig"
)

// TestNoInputLeavesItsQuotes is the promise that users' text is data: whatever
// Render accepts has the directives, in number, order, nesting and length, of
// the same configuration with harmless text in its place.
func TestNoInputLeavesItsQuotes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := anyConfig().Draw(t, "config")
		files, err := lbconfig.Render(c)
		if err != nil {
			if len(lbconfig.FieldErrors(err)) == 0 {
				t.Fatalf("refused without naming a field: %v", err)
			}
			return
		}
		plain, err := lbconfig.Render(harmless(c))
		if err != nil {
			t.Fatalf("the harmless twin is refused: %v", err)
		}
		sameStructure(t, files, plain)
		again, err := lbconfig.Render(c)
		if err != nil {
			t.Fatal(err)
		}
		for i := range files {
			if !bytes.Equal(files[i].Data, again[i].Data) {
				t.Fatalf("%s: not the same bytes twice", files[i].Name)
			}
		}
	})
}

// TestHostileTextIsRefused puts each hostile text in each place, alone and
// inside of a right value.
func TestHostileTextIsRefused(t *testing.T) {
	hostile := []string{"\n", "\r", "\x00", ";", "}", "{", "$host", "${host}", `"`, "'", `\`, "#", " ", "\t", "\u2028", "é", "\n}\nserver{", `";return 200;#`}
	places := map[string]func(*lbconfig.Site, string){
		"service":       func(s *lbconfig.Site, x string) { s.Service = x },
		"host":          func(s *lbconfig.Site, x string) { s.Ingress.Hosts = []string{x} },
		"sticky_cookie": func(s *lbconfig.Site, x string) { s.Ingress.StickyCookie = x },
		"balance":       func(s *lbconfig.Site, x string) { s.Ingress.Balance = x },
		"origin":        func(s *lbconfig.Site, x string) { s.Ingress.CORS = &lbconfig.CORS{Origins: []string{x}} },
		"origin's host": func(s *lbconfig.Site, x string) {
			s.Ingress.CORS = &lbconfig.CORS{Origins: []string{"https://a" + x + "b"}}
		},
		"method": func(s *lbconfig.Site, x string) {
			s.Ingress.CORS = &lbconfig.CORS{Origins: []string{"*"}, Methods: []string{strings.ToUpper(x)}}
		},
		"header": func(s *lbconfig.Site, x string) {
			s.Ingress.CORS = &lbconfig.CORS{Origins: []string{"*"}, Headers: []string{x}}
		},
		"static": func(s *lbconfig.Site, x string) {
			s.Ingress.Static = []lbconfig.Static{{Path: "/" + x, MaxAge: time.Hour}}
		},
		"tls": func(s *lbconfig.Site, x string) { s.Ingress.TLS = x },
		"host with tls": func(s *lbconfig.Site, x string) {
			s.Ingress.Hosts, s.Ingress.TLS = []string{x + ".example"}, lbconfig.TLSAuto
			s.Certificates = []lbconfig.Certificate{{Hosts: s.Ingress.Hosts, Chain: "/c", Key: "/k"}}
		},
		"chain": func(s *lbconfig.Site, x string) {
			s.Ingress.TLS = lbconfig.TLSAuto
			s.Certificates = []lbconfig.Certificate{{Hosts: s.Ingress.Hosts, Chain: "/c" + x, Key: "/k"}}
		},
		"key": func(s *lbconfig.Site, x string) {
			s.Ingress.TLS = lbconfig.TLSAuto
			s.Certificates = []lbconfig.Certificate{{Hosts: s.Ingress.Hosts, Chain: "/c", Key: "/k/" + x}}
		},
		"instance": func(s *lbconfig.Site, x string) { s.Servers = []lbconfig.Server{{Instance: x, Address: "10.0.0.1:1"}} },
		"address":  func(s *lbconfig.Site, x string) { s.Servers = []lbconfig.Server{{Address: "10.0.0.1:1" + x}} },
	}
	for place, put := range places {
		for _, x := range hostile {
			for _, text := range []string{x, "a" + x, x + "a", "a" + x + "b"} {
				site := lbconfig.Site{Service: "a", Ingress: lbconfig.Ingress{Hosts: []string{"a.example"}, Port: 1}}
				put(&site, text)
				c := lbconfig.Config{Listen: []string{"80"}, ListenTLS: []string{"443"}, Status: "127.0.0.1:1", Sites: []lbconfig.Site{site}}
				c.Fallback = lbconfig.Certificate{Chain: "/c", Key: "/k"}
				if x == " " && strings.HasPrefix(place, "c") || x == " " && place == "key" {
					continue // a path may have one, and is quoted
				}
				_, err := lbconfig.Render(c)
				if err == nil {
					t.Errorf("%s: %q was accepted", place, text)
				}
			}
		}
	}
}

func FuzzRender(f *testing.F) {
	f.Add("backend", "api.example.com", "sid", "https://a.example", "/static", "backend-1", "10.0.0.1:4000", "80")
	f.Add("a\n}", "*.b;", "$c", `https://"`, "/x{", `\`, "::1", "80;")
	f.Fuzz(func(t *testing.T, service, host, cookie, origin, path, instance, address, listen string) {
		c := lbconfig.Config{Listen: []string{listen}, Status: "127.0.0.1:9371", Sites: []lbconfig.Site{{
			Service: service,
			Ingress: lbconfig.Ingress{
				Hosts: []string{host}, Port: 1, StickyCookie: cookie,
				CORS:   &lbconfig.CORS{Origins: []string{origin}, Methods: []string{cookie}, Headers: []string{cookie}},
				Static: []lbconfig.Static{{Path: path, MaxAge: time.Hour}},
			},
			Servers: []lbconfig.Server{{Instance: instance, Address: address}},
		}}}
		files, err := lbconfig.Render(c)
		if err != nil {
			return
		}
		plain, err := lbconfig.Render(harmless(c))
		if err != nil {
			t.Fatal(err)
		}
		sameStructure(t, files, plain)
	})
}

// anyConfig draws configs in which a value is right more often than not, so
// that many of them are accepted with something odd inside.
func anyConfig() *rapid.Generator[lbconfig.Config] {
	hostile := rapid.SampledFrom([]string{"\n", ";", "}", "{", "$x", `"`, "'", `\`, "#", " ", "*", "~", "_", "%", "..", "É", "\x00", "default", "~*", "hostnames"})
	text := func(form string) *rapid.Generator[string] {
		return rapid.Custom(func(t *rapid.T) string {
			s := rapid.StringMatching(form).Draw(t, "right")
			if rapid.IntRange(0, 19).Draw(t, "spoil") != 0 {
				return s
			}
			at := rapid.IntRange(0, len(s)).Draw(t, "at")
			return s[:at] + hostile.Draw(t, "hostile") + s[at:]
		})
	}
	return rapid.Custom(func(t *rapid.T) lbconfig.Config {
		c := lbconfig.Config{
			Generation: rapid.Uint64().Draw(t, "generation"),
			Listen:     []string{text(`([1-9][0-9]{0,3})|(127\.0\.0\.1:[1-9]0)`).Draw(t, "listen")},
			Status:     "127.0.0.1:65535",
			ListenTLS:  []string{text(`([1-9]0[0-9]{3})|(127\.0\.0\.2:[1-9]0)`).Draw(t, "listen_tls")},
			Challenge:  rapid.SampledFrom([]string{"", "127.0.0.1:65534"}).Draw(t, "challenge"),
			Fallback:   lbconfig.Certificate{Chain: "/f.crt", Key: "/f.key"},
		}
		for n := range rapid.IntRange(0, 3).Draw(t, "sites") {
			s := lbconfig.Site{Service: text(fmt.Sprintf(`s%d[a-zA-Z0-9_.-]{0,8}`, n)).Draw(t, "service")}
			s.Ingress = lbconfig.Ingress{
				Hosts: []string{text(fmt.Sprintf(`(\*\.)?h%d[a-z0-9]{0,3}(\.[a-zA-Z0-9]{1,3}){0,2}`, n)).Draw(t, "host")},
				Port:  1,
			}
			if rapid.Bool().Draw(t, "sticky") {
				s.Ingress.StickyCookie = text(`[A-Za-z0-9_]{1,4}`).Draw(t, "cookie")
			}
			if rapid.Bool().Draw(t, "rate") {
				s.Ingress.RateLimit = &lbconfig.RateLimit{PerSecond: rapid.Float64Range(0.02, 1000).Draw(t, "rate"), Burst: rapid.IntRange(0, 5).Draw(t, "burst")}
			}
			if rapid.Bool().Draw(t, "cors") {
				s.Ingress.CORS = &lbconfig.CORS{
					Origins: []string{text(`https?://[a-z0-9]{1,4}(\.[a-zA-Z]{1,3})?(:[1-9][0-9]{0,3})?`).Draw(t, "origin")},
					Methods: []string{text(`[A-Z]{1,4}`).Draw(t, "method")},
					Headers: []string{text(`[A-Z][A-Za-z-]{1,4}`).Draw(t, "header")},
				}
			}
			if rapid.Bool().Draw(t, "static") {
				s.Ingress.Static = []lbconfig.Static{{Path: text(`/[A-Za-z0-9._~@:+,-]{3,5}(/[a-z]{1,3})?/?`).Draw(t, "path"), MaxAge: time.Hour}}
			}
			if rapid.Bool().Draw(t, "tls") {
				s.Ingress.TLS = lbconfig.TLSAuto
				s.Certificates = []lbconfig.Certificate{{
					Hosts: s.Ingress.Hosts, Staple: rapid.Bool().Draw(t, "staple"),
					Chain: text(`/[A-Za-z0-9._ -]{1,4}[a-z](/[a-z]{1,3})?`).Draw(t, "chain"), Key: text(`/[A-Za-z0-9._-]{1,4}[a-z]`).Draw(t, "key"),
				}}
			}
			for range rapid.IntRange(0, 2).Draw(t, "servers") {
				s.Servers = append(s.Servers, lbconfig.Server{
					Instance: text(`[a-z]{1,4}-[0-9]`).Draw(t, "instance"), Address: text(`10\.0\.0\.[1-9]:[1-9][0-9]{0,3}`).Draw(t, "address"),
				})
			}
			c.Sites = append(c.Sites, s)
		}
		return c
	})
}

// harmless is the config with every text of a user replaced by a plain one
// that sorts to the same place.
func harmless(c lbconfig.Config) lbconfig.Config {
	c.Listen, c.ListenTLS = []string{"80"}, []string{"443"}
	sites := c.Sites
	c.Sites = nil
	for _, s := range sites {
		rank := 0
		for _, other := range sites {
			if other.Service < s.Service {
				rank++
			}
		}
		s.Service = fmt.Sprintf("s%d", rank)
		if s.Ingress.Hosts[0] != lbconfig.AnyHost {
			s.Ingress.Hosts = []string{fmt.Sprintf("h%d.x", rank)}
		}
		if len(s.Certificates) > 0 {
			s.Certificates = []lbconfig.Certificate{{Hosts: s.Ingress.Hosts, Chain: "/c", Key: "/k", Staple: s.Certificates[0].Staple}}
		}
		if s.Ingress.StickyCookie != "" {
			s.Ingress.StickyCookie = "c"
		}
		if cors := s.Ingress.CORS; cors != nil {
			origin := "https://o"
			if cors.Origins[0] == "*" {
				origin = "*"
			}
			s.Ingress.CORS = &lbconfig.CORS{Origins: []string{origin}, Methods: []string{"M"}, Headers: []string{"H"}}
		}
		if len(s.Ingress.Static) > 0 {
			if path := s.Ingress.Static[0].Path; path != "/" {
				plain := "/p" + strings.Repeat("/", len(path)-len(strings.TrimSuffix(path, "/")))
				s.Ingress.Static = []lbconfig.Static{{Path: plain, MaxAge: time.Hour}}
			}
		}
		servers := s.Servers
		s.Servers = nil
		for i, server := range servers {
			if server.Instance != "" {
				server.Instance = "i"
			}
			server.Address = fmt.Sprintf("10.0.0.1:%d", i+1)
			s.Servers = append(s.Servers, server)
		}
		c.Sites = append(c.Sites, s)
	}
	return c
}

func sameStructure(t interface{ Fatalf(string, ...any) }, got, want []lbconfig.File) {
	if len(got) != len(want) {
		t.Fatalf("%d files instead of %d", len(got), len(want))
	}
	for i := range got {
		g, err := structure(string(got[i].Data))
		if err != nil {
			t.Fatalf("%s: %v\n%s", got[i].Name, err, got[i].Data)
		}
		w, err := structure(string(want[i].Data))
		if err != nil {
			t.Fatalf("%s: %v\n%s", want[i].Name, err, want[i].Data)
		}
		if g != w {
			t.Fatalf("%s has directives\n%s\ninstead of\n%s", got[i].Name, g, w)
		}
	}
}

// structure reads text as nginx does and returns a line per directive: its
// depth, its name (except in a map, where it is data) and its number of words.
func structure(text string) (string, error) {
	var out strings.Builder
	var words []string
	var inMap []bool
	emit := func(end string) {
		name := words[0]
		if len(inMap) > 0 && inMap[len(inMap)-1] && name != "default" {
			name = "(key)"
		}
		fmt.Fprintf(&out, "%d %s/%d%s\n", len(inMap), name, len(words), end)
	}
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
		case c == '#':
			for i < len(text) && text[i] != '\n' {
				i++
			}
		case c == ';' || c == '{':
			if len(words) == 0 {
				return "", fmt.Errorf("%q without a directive at byte %d", c, i)
			}
			emit(string(c))
			if c == '{' {
				inMap = append(inMap, words[0] == "map")
			}
			words = nil
			i++
		case c == '}':
			if len(words) > 0 || len(inMap) == 0 {
				return "", fmt.Errorf("unexpected %q at byte %d", c, i)
			}
			inMap = inMap[:len(inMap)-1]
			i++
		default:
			word, n, err := readWord(text[i:])
			if err != nil {
				return "", fmt.Errorf("at byte %d: %w", i, err)
			}
			words = append(words, word)
			i += n
		}
	}
	if len(words) > 0 || len(inMap) > 0 {
		return "", fmt.Errorf("the text ends inside of %v", words)
	}
	return out.String(), nil
}

// readWord reads one word, quoted or bare, and returns how long it was.
func readWord(text string) (string, int, error) {
	quote := byte(0)
	i := 0
	if text[0] == '"' || text[0] == '\'' {
		quote = text[0]
		i = 1
	}
	var word strings.Builder
	for ; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text):
			i++
			word.WriteByte(text[i])
		case quote != 0 && c == quote:
			if i+1 < len(text) && !strings.ContainsRune(" \t\r\n;{)", rune(text[i+1])) {
				return "", 0, fmt.Errorf("text goes on after a closing quote: %.20q", text[i:])
			}
			return word.String(), i + 1, nil
		case quote == 0 && strings.IndexByte(" \t\r\n;{", c) >= 0:
			return word.String(), i, nil
		default:
			word.WriteByte(c)
		}
	}
	return "", 0, fmt.Errorf("a word without an end: %.20q", text)
}

func TestBaseQuotesItsPaths(t *testing.T) {
	plain, odd := lbconfig.DefaultBase(), lbconfig.DefaultBase()
	odd.ErrorLog, odd.Root, odd.CacheDir = `/tmp/a"; b\`, "/tmp/{\n}#", "/tmp/ ;"
	want, err := structure(string(lbconfig.Base(plain)))
	if err != nil {
		t.Fatal(err)
	}
	got, err := structure(string(lbconfig.Base(odd)))
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("directives\n%s\ninstead of\n%s", got, want)
	}
}
