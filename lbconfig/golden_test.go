package lbconfig_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/supervisord/supervisord/lbconfig"
)

var update = flag.Bool("update", false, "write golden files and nginx.conf anew")

// rich uses every feature at least once.
func rich() lbconfig.Config {
	ingress := func(host string, change func(*lbconfig.Ingress)) lbconfig.Ingress {
		i := lbconfig.Ingress{Hosts: []string{host}, Port: 4000}
		if change != nil {
			change(&i)
		}
		return i
	}
	one := []lbconfig.Server{{Instance: "one-1", Address: "10.0.0.1:4000"}}
	return lbconfig.Config{
		Generation: 42,
		Listen:     []string{"80", "[::]:80"},
		Status:     "127.0.0.1:9371",
		ListenTLS:  []string{"443", "[::]:443"},
		Challenge:  "127.0.0.1:9372",
		Fallback:   lbconfig.Certificate{Chain: "/etc/nginx/supervisord.d/tls/none.crt", Key: "/etc/nginx/supervisord.d/tls/none.key"},
		Sites: []lbconfig.Site{
			{Service: "secure", Ingress: ingress("www.example.com", func(i *lbconfig.Ingress) {
				i.Hosts = append(i.Hosts, "*.shop.example.com", "Example.com")
				i.TLS = lbconfig.TLSAuto
				i.HSTS = &lbconfig.HSTS{MaxAge: 365 * 24 * time.Hour, IncludeSubdomains: true, Preload: true}
				i.RateLimit = &lbconfig.RateLimit{PerSecond: 10, Burst: 5}
			}), Servers: one, Certificates: []lbconfig.Certificate{
				{Hosts: []string{"www.example.com"}, Chain: "/etc/nginx/supervisord.d/tls/w.crt", Key: "/etc/nginx/supervisord.d/tls/w.key", Staple: true},
				{Hosts: []string{"*.shop.example.com"}, Chain: "/etc/nginx/supervisord.d/tls/s.crt", Key: "/etc/nginx/supervisord.d/tls/s.key"},
				{Hosts: []string{"example.com"}, Chain: "/etc/nginx/supervisord.d/tls/w.crt", Key: "/etc/nginx/supervisord.d/tls/w.key", Staple: true},
			}},
			{Service: "unready", Ingress: ingress("new.example.com", func(i *lbconfig.Ingress) {
				i.TLS = lbconfig.TLSManual
				i.HSTS = &lbconfig.HSTS{MaxAge: time.Hour}
			}), Certificates: []lbconfig.Certificate{
				{Hosts: []string{"new.example.com"}, Chain: "/etc/nginx/supervisord.d/tls/self-new.example.com.crt", Key: "/etc/nginx/supervisord.d/tls/self-new.example.com.key"},
			}},
			{Service: "plain", Ingress: ingress("plain.example.com", nil), Servers: one},
			{Service: "backend", Ingress: ingress("api.example.com", func(i *lbconfig.Ingress) {
				i.Hosts = append(i.Hosts, "*.api.example.com", "API2.example.com")
				i.RateLimit = &lbconfig.RateLimit{PerSecond: 50, Burst: 100}
				i.MaxBody = 16 << 20
				i.Timeouts = lbconfig.Timeouts{Connect: 500 * time.Millisecond, Read: 2 * time.Minute, Send: 1500 * time.Microsecond}
				i.CORS = &lbconfig.CORS{
					Origins:     []string{"https://www.example.com", "http://localhost:3000"},
					Methods:     []string{"GET", "PUT"},
					Headers:     []string{"Authorization", "X-Tenant"},
					Credentials: true,
					MaxAge:      time.Hour,
				}
				i.Static = []lbconfig.Static{{Path: "/assets/", MaxAge: 24 * time.Hour}, {Path: "/favicon.ico", MaxAge: time.Minute}}
			}), Servers: []lbconfig.Server{
				{Instance: "backend-2", Address: "10.0.0.2:4001", Weight: 3},
				{Instance: "backend-1", Address: "10.0.0.1:4000", Weight: 1},
				{Address: "[2001:db8::1]:4002"},
			}},
			{Service: "empty", Ingress: ingress("empty.example.com", func(i *lbconfig.Ingress) {
				i.StickyCookie = "sid"
				i.CORS = &lbconfig.CORS{Origins: []string{"*"}}
				i.Static = []lbconfig.Static{{Path: "/s", MaxAge: time.Second}}
			})},
			{Service: "sticky-1.b_c", Ingress: ingress("sticky.example.com", func(i *lbconfig.Ingress) {
				i.StickyCookie = "session_id"
				i.RateLimit = &lbconfig.RateLimit{PerSecond: 0.5}
			}), Servers: one},
			{Service: "catchall", Ingress: ingress("_", func(i *lbconfig.Ingress) {
				i.Balance = lbconfig.BalanceRandom
				i.Static = []lbconfig.Static{{Path: "/", MaxAge: time.Minute}}
			}), Servers: one},
			{Service: "hashed", Ingress: ingress("hashed.example.com", func(i *lbconfig.Ingress) { i.Balance = lbconfig.BalanceIPHash }), Servers: one},
			{Service: "rr", Ingress: ingress("rr.example.com", func(i *lbconfig.Ingress) { i.Balance = lbconfig.BalanceRoundRobin }), Servers: one},
		},
	}
}

func TestRenderGolden(t *testing.T) {
	files, err := lbconfig.Render(rich())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name)
		golden(t, filepath.Join("testdata", "rich", f.Name), f.Data)
	}
	if !slices.IsSorted(names) {
		t.Errorf("files are not sorted by name: %v", names)
	}
	onDisk, err := filepath.Glob(filepath.Join("testdata", "rich", "*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(onDisk) != len(files) {
		t.Errorf("testdata/rich has %d files, rendered are %d", len(onDisk), len(files))
	}
}

func TestMainFileIsBaseWithDefaults(t *testing.T) {
	golden(t, filepath.Join("..", "nginx.conf"), lbconfig.Base(lbconfig.DefaultBase()))
}

func TestBaseOfAPrivateNginx(t *testing.T) {
	golden(t, filepath.Join("testdata", "base-private.conf"), lbconfig.Base(lbconfig.BaseOptions{
		PIDFile:         "/tmp/a b/nginx.pid",
		ErrorLog:        "/tmp/a b/error.log",
		MimeTypes:       "/etc/nginx/mime.types",
		Root:            "/tmp/a b/supervisord.d/",
		CacheDir:        "/tmp/a b/cache",
		TempDir:         "/tmp/a b/temp",
		ShutdownTimeout: 1500 * time.Millisecond,
	}))
}

// golden compares with a file, or writes it under -update.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got); run with -update after looking at it:\n%s", file, diff)
	}
}
