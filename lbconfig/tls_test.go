package lbconfig_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/supervisord/supervisord/lbconfig"
)

// secure is a config of one site with TLS that is in order.
func secure(change func(*lbconfig.Config, *lbconfig.Site)) lbconfig.Config {
	c := lbconfig.Config{
		Listen: []string{"80"}, ListenTLS: []string{"443"}, Status: "127.0.0.1:9371", Challenge: "127.0.0.1:9372",
		Fallback: lbconfig.Certificate{Chain: "/t/none.crt", Key: "/t/none.key"},
	}
	s := lbconfig.Site{
		Service:      "web",
		Ingress:      lbconfig.Ingress{Hosts: []string{"www.example.com"}, Port: 1, TLS: lbconfig.TLSAuto},
		Certificates: []lbconfig.Certificate{{Hosts: []string{"www.example.com"}, Chain: "/t/a.crt", Key: "/t/a.key"}},
	}
	if change != nil {
		change(&c, &s)
	}
	c.Sites = []lbconfig.Site{s}
	return c
}

func TestWhatIsWrongWithTLSIsNamed(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*lbconfig.Config, *lbconfig.Site)
		want   string // a part of the one problem; empty for none
	}{
		"in order":               {nil, ""},
		"a wildcard":             {func(_ *lbconfig.Config, s *lbconfig.Site) { rename(s, "*.example.com") }, ""},
		"an unknown mode":        {func(_ *lbconfig.Config, s *lbconfig.Site) { s.Ingress.TLS = "on" }, `tls: "on" is not one of auto, manual`},
		"any host":               {func(_ *lbconfig.Config, s *lbconfig.Site) { rename(s, "_") }, `hosts[0]: "_": "_" is no name`},
		"an address":             {func(_ *lbconfig.Config, s *lbconfig.Site) { rename(s, "10.0.0.1") }, "an IP address is no name"},
		"one label":              {func(_ *lbconfig.Config, s *lbconfig.Site) { rename(s, "localhost") }, "not a full host name"},
		"no address for TLS":     {func(c *lbconfig.Config, _ *lbconfig.Site) { c.ListenTLS = nil }, "listen_tls: no address"},
		"a wrong address":        {func(c *lbconfig.Config, _ *lbconfig.Site) { c.ListenTLS = []string{"443", "x"} }, `listen_tls[1]: "x"`},
		"one address for both":   {func(c *lbconfig.Config, _ *lbconfig.Site) { c.ListenTLS = []string{"80"} }, `listen_tls[0]: "80" is there twice`},
		"no fallback":            {func(c *lbconfig.Config, _ *lbconfig.Site) { c.Fallback.Chain = "" }, "fallback.chain"},
		"a stranger for answers": {func(c *lbconfig.Config, _ *lbconfig.Site) { c.Challenge = "10.0.0.1:80" }, "challenge:"},
		"no certificate":         {func(_ *lbconfig.Config, s *lbconfig.Site) { s.Certificates = nil }, `hosts[0]: "www.example.com" has no certificate`},
		"two certificates": {func(_ *lbconfig.Config, s *lbconfig.Site) {
			s.Certificates = append(s.Certificates, lbconfig.Certificate{Hosts: []string{"WWW.example.com"}, Chain: "/b", Key: "/b"})
		}, "has two certificates"},
		"another's certificate": {func(_ *lbconfig.Config, s *lbconfig.Site) {
			s.Certificates[0].Hosts = append(slices.Clone(s.Certificates[0].Hosts), "b.example.com")
		}, `"b.example.com" is not a host of the site`},
		"a path that goes up":      {func(_ *lbconfig.Config, s *lbconfig.Site) { s.Certificates[0].Key = "/t/../k" }, "certificates[0].key"},
		"certificates without TLS": {func(_ *lbconfig.Config, s *lbconfig.Site) { s.Ingress.TLS = "" }, "a site without TLS has none"},
		"HSTS without TLS": {func(_ *lbconfig.Config, s *lbconfig.Site) {
			s.Ingress.TLS, s.Certificates, s.Ingress.HSTS = "", nil, &lbconfig.HSTS{MaxAge: time.Hour}
		}, "hsts: cannot be without tls"},
		"a preload that the list refuses": {func(_ *lbconfig.Config, s *lbconfig.Site) {
			s.Ingress.HSTS = &lbconfig.HSTS{MaxAge: time.Hour, Preload: true, IncludeSubdomains: true}
		}, "hsts.preload: cannot be without"},
	} {
		t.Run(name, func(t *testing.T) {
			err := secure(tc.change).Validate()
			problems := lbconfig.FieldErrors(err)
			if tc.want == "" && err != nil || tc.want != "" && (len(problems) == 0 || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func rename(s *lbconfig.Site, host string) {
	s.Ingress.Hosts, s.Certificates[0].Hosts = []string{host}, []string{host}
}

// A site's last good file must go on beside new files: nothing of TLS is in the
// common file but the fallback, which is there with the first site that has it.
func TestPlainRequestsAreSentToThePortOfTLS(t *testing.T) {
	for want, listen := range map[string][]string{
		"https://$host$request_uri":      {"8443", "127.0.0.1:443"},
		"https://$host:8443$request_uri": {"[::]:8443"},
	} {
		files, err := lbconfig.Render(secure(func(c *lbconfig.Config, _ *lbconfig.Site) { c.ListenTLS = listen }))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(files[1].Data, []byte("return 308 "+want+";")) {
			t.Errorf("listening at %v: no redirect to %s in\n%s", listen, want, files[1].Data)
		}
	}
}
