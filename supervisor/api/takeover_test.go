package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/api/apitest"
	"github.com/supervisord/supervisord/supervisor/state"
)

func TestTakeover(t *testing.T) {
	const adopt, finish, giveBack = "/v1/takeover/adopt", "/v1/takeover/finish", "/v1/takeover/return"
	for _, c := range []struct {
		name, method, path, body string
		header                   []string
		code                     int
		want                     string
		adopted                  int
	}{
		{name: "what there is", method: "GET", path: "/v1/takeover", code: 200, want: `"cannot":"the file has no service \"cache\""`},
		{name: "what would be refused", method: "GET", path: "/v1/takeover", code: 200, want: `"cannot":"postgres owns data`},
		{name: "one by name", method: "GET", path: "/v1/takeover?container=old-backend=backend", code: 200, want: `"name":"old-backend"`},
		{name: "nowhere", method: "GET", path: "/v1/takeover?container=x=backend", code: 404, want: "there is no container x"},
		{name: "no service", method: "GET", path: "/v1/takeover?container=x", code: 400, want: "want NAME=SERVICE"},
		{name: "on two hosts", method: "GET", path: "/v1/takeover?container=twice=backend", code: 400, want: "container twice is on alpha, beta: say which, HOST/twice"},
		{name: "all that can be", method: "POST", path: adopt, body: `{"by": "root"}`, code: 200, want: `"state":"adopted"`, adopted: 2},
		{name: "one of two", method: "POST", path: adopt, body: `{"by": "root", "containers": {"acme_backend_1": "backend"}}`, code: 200, want: `"state":"adopted"`, adopted: 1},
		{name: "what cannot be", method: "POST", path: adopt, body: `{"services": ["backend", "postgres"]}`, code: 409, want: "acme_postgres_1 cannot be adopted"},
		{name: "what is not well", method: "POST", path: adopt, body: `{"containers": {"sick-backend": "backend"}}`, code: 409, want: "connection refused"},
		{name: "an unknown field", method: "POST", path: adopt, body: `{"all": true}`, code: 400, want: "all"},
		{name: "nothing to finish", method: "POST", path: finish, body: `{}`, code: 409, want: "no adopted instance"},
		{name: "nothing to give back", method: "POST", path: giveBack, body: `{}`, code: 409, want: "no adopted instance"},
		{name: "nothing that waits", method: "POST", path: "/v1/takeover/ignore", body: `{}`, code: 409, want: "no service of these waits"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := apitest.Example()
			b.RunCompose()
			for _, host := range []string{"alpha", "beta"} {
				b.Runs(state.Candidate{Adoptee: state.Adoptee{Host: host, Container: "t-" + host, Name: "twice"}})
			}
			w := ask(handler(b), c.method, c.path, c.body, c.header...)
			if w.Code != c.code || !strings.Contains(w.Body.String(), c.want) {
				t.Errorf("%d %s, want %d %s", w.Code, w.Body, c.code, c.want)
			}
			cluster, _ := b.State()
			adopted := 0
			for i := range cluster.Instances.Values() {
				if i.IsAdopted() {
					adopted++
				}
			}
			if adopted != c.adopted {
				t.Errorf("%d are adopted, want %d", adopted, c.adopted)
			}
		})
	}
}

// TestAnAdoptionIsFinishedOnlyWithTheImages: what is stopped first must not wait
// for its image then.
func TestAnAdoptionIsFinishedOnlyWithTheImages(t *testing.T) {
	b := apitest.Example()
	b.RunCompose()
	if w := ask(handler(b), http.MethodPost, "/v1/takeover/adopt", `{"by": "root"}`); w.Code != http.StatusOK {
		t.Fatal(w.Body)
	}
	if _, err := b.Deploy(t.Context(), api.Deploy{Images: map[string]string{"backend": "nowhere/backend:2"}}); err != nil {
		t.Fatal(err)
	}
	w := ask(handler(b), http.MethodPost, "/v1/takeover/finish", `{}`)
	if w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "not every host has the images") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	c, _ := b.State()
	for i := range c.Instances.Values() {
		if i.Revision == state.RevisionAdopted {
			t.Errorf("%s is being replaced", i.Name)
		}
	}
}
