package lbconfig_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/supervisord/supervisord/lbconfig"
)

func TestIngressValidate(t *testing.T) {
	long := strings.Repeat("a", 63)
	tests := []struct {
		name   string
		change func(*lbconfig.Ingress)
		fields []string // at fault; none when right
	}{
		{"the least", func(i *lbconfig.Ingress) {}, nil},
		{"no host", func(i *lbconfig.Ingress) { i.Hosts = nil }, []string{"hosts"}},
		{"wildcard, any, capitals, longest", func(i *lbconfig.Ingress) {
			i.Hosts = []string{"*.a.example", "_", "API.Example.COM", long + "." + long + "." + long + "." + long[:61], "10.0.0.1"}
		}, nil},
		{"host too long", func(i *lbconfig.Ingress) { i.Hosts = []string{long + "." + long + "." + long + "." + long} }, []string{"hosts[0]"}},
		{"bad hosts", func(i *lbconfig.Ingress) {
			i.Hosts = []string{"a..b", "-a.b", "a-.b", "a b", "", "*.*.b", "*", "a.*.b", ".a", "a.", "a_b", "ä.de", "~^a", "$host", "a;", "a\nb", "a}", `"a"`, `a\`, "a#", "a:80", "{", "$"}
		}, fieldsOf("hosts", 23)},
		{"host twice", func(i *lbconfig.Ingress) { i.Hosts = []string{"a.example", "A.example"} }, []string{"hosts[1]"}},
		{"port", func(i *lbconfig.Ingress) { i.Port = 65536 }, []string{"port"}},
		{"health", func(i *lbconfig.Ingress) {
			i.Health = lbconfig.Health{Path: "health", Every: time.Millisecond, Timeout: -1}
		}, []string{"health.path", "health.every", "health.timeout"}},
		{"health path with a query", func(i *lbconfig.Ingress) { i.Health.Path = "/health?deep=1" }, nil},
		{"health path with a newline", func(i *lbconfig.Ingress) { i.Health.Path = "/health\r\nX: y" }, []string{"health.path"}},
		{"balance", func(i *lbconfig.Ingress) { i.Balance = "fastest" }, []string{"balance"}},
		{"sticky", func(i *lbconfig.Ingress) { i.StickyCookie = "JSESSION_ID" }, nil},
		{"sticky and balance", func(i *lbconfig.Ingress) { i.StickyCookie, i.Balance = "sid", "ip_hash" }, []string{"sticky_cookie"}},
		{"sticky with what a variable cannot name", func(i *lbconfig.Ingress) { i.StickyCookie = "session-id" }, []string{"sticky_cookie"}},
		{"rate", func(i *lbconfig.Ingress) { i.RateLimit = &lbconfig.RateLimit{PerSecond: 1.0 / 60} }, nil},
		{"rate too low", func(i *lbconfig.Ingress) { i.RateLimit = &lbconfig.RateLimit{PerSecond: 0.01, Burst: -1} }, []string{"rate_limit.per_second", "rate_limit.burst"}},
		{"rate not a number", func(i *lbconfig.Ingress) { i.RateLimit = &lbconfig.RateLimit{PerSecond: math.NaN()} }, []string{"rate_limit.per_second"}},
		{"no origin", func(i *lbconfig.Ingress) { i.CORS = &lbconfig.CORS{} }, []string{"cors.origins"}},
		{"origins", func(i *lbconfig.Ingress) {
			i.CORS = &lbconfig.CORS{Origins: []string{"https://a.example", "http://localhost:3000"}, Credentials: true}
		}, nil},
		{"bad origins", func(i *lbconfig.Ingress) {
			i.CORS = &lbconfig.CORS{Origins: []string{"a.example", "https://", "https://a/", "https://*.a", "https://a:0", "https://a:080", "null", "https://a;", "https://$a", "~^https", "https://a\n", "ftp://a"}}
		}, fieldsOf("cors.origins", 12)},
		{"any origin among others", func(i *lbconfig.Ingress) { i.CORS = &lbconfig.CORS{Origins: []string{"*", "https://a.example"}} }, []string{"cors.origins[0]"}},
		{"any origin with credentials", func(i *lbconfig.Ingress) {
			i.CORS = &lbconfig.CORS{Origins: []string{"*"}, Credentials: true}
		}, []string{"cors.credentials"}},
		{"methods and headers", func(i *lbconfig.Ingress) {
			i.CORS = &lbconfig.CORS{Origins: []string{"*"}, Methods: []string{"GET", "get", "G T", "G\""}, Headers: []string{"X-A", "X A", "X$A"}, MaxAge: 25 * time.Hour}
		}, []string{"cors.methods[1]", "cors.methods[2]", "cors.methods[3]", "cors.headers[1]", "cors.headers[2]", "cors.max_age"}},
		{"body", func(i *lbconfig.Ingress) { i.MaxBody = -1 }, []string{"max_body"}},
		{"timeouts", func(i *lbconfig.Ingress) {
			i.Timeouts = lbconfig.Timeouts{Connect: 76 * time.Second, Read: -time.Second, Send: time.Microsecond}
		}, []string{"timeouts.connect", "timeouts.read", "timeouts.send"}},
		{"static", func(i *lbconfig.Ingress) {
			i.Static = []lbconfig.Static{{Path: "/", MaxAge: time.Second}, {Path: "/a/b.c~d@e:f+g,h_i-j/", MaxAge: time.Hour}}
		}, nil},
		{"bad static", func(i *lbconfig.Ingress) {
			for _, p := range []string{"", "a", "/a b", "/a;", "/a{", "/$a", "/a\n", `/a"`, `/a\`, "/a%20", "/a/../b", "/./a", "//a", "/ä", "/a#"} {
				i.Static = append(i.Static, lbconfig.Static{Path: p, MaxAge: time.Hour})
			}
		}, suffixed(fieldsOf("static", 15), ".path")},
		{"static twice, and for no time", func(i *lbconfig.Ingress) {
			i.Static = []lbconfig.Static{{Path: "/a", MaxAge: time.Hour}, {Path: "/a/", MaxAge: 0}}
		}, []string{"static[1].path", "static[1].max_age"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			i := lbconfig.Ingress{Hosts: []string{"a.example"}, Port: 4000}
			tt.change(&i)
			err := i.Validate()
			if diff := cmp.Diff(tt.fields, fieldsAtFault(t, err)); diff != "" {
				t.Errorf("fields at fault (-want +got):\n%s\nerror: %v", diff, err)
			}
			if err == nil {
				if err := i.WithDefaults().Validate(); err != nil {
					t.Errorf("right without defaults, wrong with them: %v", err)
				}
			}
		})
	}
}

func TestConfigValidate(t *testing.T) {
	tests := []struct {
		name   string
		change func(*lbconfig.Config)
		want   []string // "service/field"
	}{
		{"right", func(c *lbconfig.Config) {}, nil},
		{"no sites", func(c *lbconfig.Config) { c.Sites = nil }, nil},
		{"listen forms", func(c *lbconfig.Config) { c.Listen = []string{"80", "127.0.0.1:81", "[::]:80", "*:82"} }, nil},
		{"bad listen", func(c *lbconfig.Config) {
			c.Listen = []string{"0", "80;", "localhost:80", "unix:/x", "65536", "[fe80::1%eth0]:80", "80 ssl"}
		}, []string{"/listen[0]", "/listen[1]", "/listen[2]", "/listen[3]", "/listen[4]", "/listen[5]", "/listen[6]"}},
		{"listen twice", func(c *lbconfig.Config) { c.Listen = []string{"80", "*:80"} }, []string{"/listen[1]"}},
		{"no listen", func(c *lbconfig.Config) { c.Listen = nil }, []string{"/listen"}},
		{"status open to others", func(c *lbconfig.Config) { c.Status = "0.0.0.0:9371" }, []string{"/status"}},
		{"status is public", func(c *lbconfig.Config) { c.Listen = []string{"127.0.0.1:9371"} }, []string{"/status"}},
		{"service names", func(c *lbconfig.Config) {
			c.Sites[0].Service, c.Sites[1].Service = "a b", "../b"
		}, []string{"../b/service", "a b/service"}},
		{"names that differ by case", func(c *lbconfig.Config) { c.Sites[0].Service, c.Sites[1].Service = "b", "B" }, []string{"b/service"}},
		{"one host of two sites", func(c *lbconfig.Config) { c.Sites[0].Ingress.Hosts = []string{"B.example"} }, []string{"b/hosts[0]"}},
		{"any host of two sites", func(c *lbconfig.Config) {
			c.Sites[0].Ingress.Hosts, c.Sites[1].Ingress.Hosts = []string{"_"}, []string{"_"}
		}, []string{"b/hosts[0]"}},
		{"servers", func(c *lbconfig.Config) {
			c.Sites[0].Servers = []lbconfig.Server{
				{Instance: "a-1\n", Address: "10.0.0.1:1"}, {Address: "host:1"}, {Address: "10.0.0.1:0"},
				{Address: "10.0.0.1:1; }"}, {Address: "[::1%lo]:1"}, {Address: "10.0.0.1:1", Weight: -1},
			}
		}, []string{"a/servers[0].instance", "a/servers[1].address", "a/servers[2].address", "a/servers[3].address", "a/servers[4].address", "a/servers[5].weight"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := lbconfig.Config{Listen: []string{"80"}, Status: "127.0.0.1:9371", Sites: []lbconfig.Site{
				{Service: "a", Ingress: lbconfig.Ingress{Hosts: []string{"a.example"}, Port: 1}},
				{Service: "b", Ingress: lbconfig.Ingress{Hosts: []string{"b.example"}, Port: 1}},
			}}
			tt.change(&c)
			err := c.Validate()
			var got []string
			for _, f := range lbconfig.FieldErrors(err) {
				got = append(got, f.Service+"/"+f.Field)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("at fault (-want +got):\n%s\nerror: %v", diff, err)
			}
			if _, renderErr := lbconfig.Render(c); (renderErr == nil) != (err == nil) {
				t.Errorf("Validate says %v, Render says %v", err, renderErr)
			}
		})
	}
}

func TestWithDefaults(t *testing.T) {
	said := lbconfig.Ingress{Hosts: []string{"a.example"}, Port: 1, CORS: &lbconfig.CORS{Origins: []string{"*"}}}
	full := said.WithDefaults()
	want := lbconfig.Ingress{
		Hosts: []string{"a.example"}, Port: 1,
		Balance:  lbconfig.BalanceLeastConn,
		Health:   lbconfig.Health{Every: 30 * time.Second, Timeout: 5 * time.Second},
		Timeouts: lbconfig.Timeouts{Connect: 2 * time.Second, Read: time.Minute, Send: time.Minute},
		MaxBody:  1 << 20,
		CORS: &lbconfig.CORS{
			Origins: []string{"*"}, Methods: []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"},
			Headers: []string{"Authorization", "Content-Type", "X-Requested-With"}, MaxAge: 10 * time.Minute,
		},
	}
	if diff := cmp.Diff(want, full); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(full, full.WithDefaults()); diff != "" {
		t.Errorf("defaults of defaults differ:\n%s", diff)
	}
	if said.CORS.Methods != nil {
		t.Error("the original was written to")
	}
}

func TestFieldErrorsOfAnythingElse(t *testing.T) {
	if got := lbconfig.FieldErrors(errors.New("other")); got != nil {
		t.Errorf("got %v", got)
	}
}

func fieldsAtFault(t *testing.T, err error) []string {
	t.Helper()
	var fields []string
	for _, f := range lbconfig.FieldErrors(err) {
		if f.Problem == "" {
			t.Errorf("%s has no problem", f.Field)
		}
		if len(fields) == 0 || fields[len(fields)-1] != f.Field {
			fields = append(fields, f.Field)
		}
	}
	if err != nil && fields == nil {
		t.Errorf("an error without fields: %v", err)
	}
	return fields
}

func fieldsOf(name string, n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("%s[%d]", name, i))
	}
	return all
}

func suffixed(all []string, suffix string) []string {
	for i := range all {
		all[i] += suffix
	}
	return all
}
