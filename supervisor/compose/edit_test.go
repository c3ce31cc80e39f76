package compose_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/supervisord/supervisord/supervisor/compose"
)

func TestSetImage(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"plain", "services:\n  web:\n    image: acme/web:1 # the backend\n    init: true\n", "services:\n  web:\n    image: acme/web:2 # the backend\n    init: true\n"},
		{"quoted", "services: {web: {image: \"acme/web:1\"}}\n", "services: {web: {image: acme/web:2}}\n"},
		{"single quotes, after other characters", "services: {wéb: {image: a}, web: {labels: {ä: ö}, image: 'acme/web:1'}}", "services: {wéb: {image: a}, web: {labels: {ä: ö}, image: acme/web:2}}"},
		{"variable", "services:\n  web:\n    image: acme/web:${TAG}\n", "services:\n  web:\n    image: acme/web:2\n"},
		{"of another service", "services:\n  db:\n    image: acme/web:1\n  web:\n    image: acme/web:1\n", "services:\n  db:\n    image: acme/web:1\n  web:\n    image: acme/web:2\n"},
		{"folded", "services:\n  web:\n    image: >-\n      acme/web:1\n", ""},
		{"an alias", "x-i: &i acme/web:1\nservices:\n  web:\n    image: *i\n", ""},
		{"an anchor", "services:\n  web:\n    image: &i acme/web:1\n", ""},
		{"not there", "services:\n  web: {build: .}\n", ""},
		{"no such service", "services:\n  db: {image: a}\n", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := compose.SetImage("f.yml", []byte(tc.text), "web", "acme/web:2")
			if tc.want == "" {
				if !errors.Is(err, compose.ErrCannotEdit) {
					t.Errorf("got %q, %v; want ErrCannotEdit", got, err)
				}
				return
			}
			if err != nil || string(got) != tc.want {
				t.Errorf("got %q, %v\nwant %q", got, err, tc.want)
			}
		})
	}
	if _, err := compose.SetImage("f.yml", []byte("services: {web: {image: a}}"), "web", "a b\nc: d"); !errors.Is(err, compose.ErrCannotEdit) {
		t.Errorf("what is no image: %v", err)
	}
	if _, err := compose.SetImage("f.yml", []byte("services: ["), "web", "a"); err == nil || !strings.Contains(err.Error(), "f.yml:1") {
		t.Errorf("what is no YAML: %v", err)
	}
}

func TestBuilds(t *testing.T) {
	text := `services:
  short: {image: acme/short:1, build: ./src}
  long:
    image: acme/long:1
    build:
      context: /srv/long
      dockerfile: deploy/Dockerfile
      target: final
      args: {VERSION: "1", TOKEN: , MISSING: }
  listed:
    image: acme/listed:1
    build: {args: [A=b=c, TOKEN], ssh: [default], no_cache: true}
  none: {image: acme/none:1}
`
	p, err := compose.Parse(t.Context(), "/etc/app/f.yml", []byte(text), compose.Options{Environ: []string{"TOKEN=secret"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []compose.Build{
		{Service: "short", Image: "acme/short:1", Context: "/etc/app/src", Dockerfile: "Dockerfile", Args: map[string]string{}},
		{Service: "long", Image: "acme/long:1", Context: "/srv/long", Dockerfile: "deploy/Dockerfile", Target: "final",
			Args: map[string]string{"VERSION": "1", "TOKEN": "secret"}},
		{Service: "listed", Image: "acme/listed:1", Context: "/etc/app", Dockerfile: "Dockerfile",
			Args: map[string]string{"A": "b=c", "TOKEN": "secret"}, Unknown: []string{"no_cache", "ssh"}},
	}
	if diff := cmp.Diff(want, p.Builds); diff != "" {
		t.Errorf("builds (-want +got):\n%s", diff)
	}
}
