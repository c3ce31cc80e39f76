package api_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/api/apitest"
)

func certified() *apitest.Backend {
	b := apitest.Example()
	b.Certify()
	return b
}

func TestCerts(t *testing.T) {
	for name, b := range map[string]*apitest.Backend{"certs": certified(), "certs_none": apitest.Example(), "certs_empty": apitest.New()} {
		w := ask(handler(b), http.MethodGet, "/v1/certs", "")
		golden(t, name+".json", fmt.Appendf(nil, "/v1/certs → %d\n%s", w.Code, pretty(t, w.Body.Bytes())))
		if strings.Contains(w.Body.String(), "null") {
			t.Errorf("%s: %s", name, w.Body)
		}
	}
}

func TestNoSealedTextIsInAnyAnswer(t *testing.T) {
	h := handler(certified())
	paths := []string{"/v1/certs", "/metrics"}
	for _, path := range answers() {
		paths = append(paths, path)
	}
	for _, path := range paths {
		body := ask(h, http.MethodGet, path, "").Body.String()
		// The example seals its secret with no key at all, so both forms count.
		if strings.Contains(body, apitest.Secret) || strings.Contains(body, "Y29ycmVjdC1ob3JzZS") {
			t.Errorf("%s shows a sealed text", path)
		}
	}
}

func TestMetricsOfCertificates(t *testing.T) {
	text := scrape(t, handler(certified()))
	var out []byte
	for line := range bytes.Lines(own(text)) {
		if bytes.Contains(line, []byte("certificate")) {
			out = append(out, line...)
		}
	}
	golden(t, "metrics_certs.txt", out)
	problems, err := promlint.New(bytes.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.Contains(p.Metric, "certificate") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

func TestChangesOfCertificates(t *testing.T) {
	b := certified()
	trusted := handler(b, func(o *api.Options) { o.Trusted = true })
	for name, tc := range map[string]struct {
		path, body string
		code       int
		want       string
	}{
		"renew":                 {"/v1/certs/WWW.example.com/renew", "{}", http.StatusOK, `"next_attempt":`},
		"renew a stranger":      {"/v1/certs/x.example.com/renew", "{}", http.StatusNotFound, `no host \"x.example.com\" with tls`},
		"renew what is brought": {"/v1/certs/own.example.com/renew", "{}", http.StatusConflict, "yours to bring"},
		"import":                {"/v1/certs/missing.example.com/import", `{"cert":"PEM","key":"` + apitest.Secret + `"}`, http.StatusOK, `"issuer":"Own CA"`},
		"import what is wrong":  {"/v1/certs/own.example.com/import", `{"cert":"wrong","key":"` + apitest.Secret + `"}`, http.StatusUnprocessableEntity, "not for own.example.com"},
		"import for a stranger": {"/v1/certs/x.example.com/import", `{"cert":"PEM","key":"x"}`, http.StatusNotFound, "with tls"},
		"rehearse":              {"/v1/certs/rehearse", `{"names":["www.example.com"]}`, http.StatusOK, `"ca":"https://staging.ca.example.com/directory"`},
		"rehearse all":          {"/v1/certs/rehearse", `{}`, http.StatusOK, `"name":"wrong.example.com","error":"dns: NXDOMAIN`},
		"rehearse a stranger":   {"/v1/certs/rehearse", `{"names":["x"]}`, http.StatusNotFound, "with tls"},
	} {
		t.Run(name, func(t *testing.T) {
			w := ask(trusted, http.MethodPost, tc.path, tc.body)
			body := strings.ReplaceAll(w.Body.String(), "\n", "")
			if w.Code != tc.code || !strings.Contains(strings.ReplaceAll(body, `": "`, `":"`), tc.want) {
				t.Errorf("%d %s, want %d %s", w.Code, body, tc.code, tc.want)
			}
			if strings.Contains(body, apitest.Secret) {
				t.Error("the key is in the answer")
			}
			if w := ask(handler(b, func(o *api.Options) { o.Trusted = false }), http.MethodPost, tc.path, tc.body); w.Code != http.StatusForbidden && w.Code != http.StatusUnauthorized {
				t.Errorf("over TCP without a token: %d", w.Code)
			}
		})
	}
	none := handler(apitest.Example(), func(o *api.Options) { o.Trusted = true })
	if w := ask(none, http.MethodPost, "/v1/certs/rehearse", "{}"); w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "no x-supervisor.tls") {
		t.Errorf("without TLS: %d %s", w.Code, w.Body)
	}
}
