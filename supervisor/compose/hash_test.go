package compose

import (
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
	"pgregory.net/rapid"
)

// Comments, the order of keys, flow or block style and quotes are formatting:
// they change no hash.
func TestFormattingChangesNoHash(t *testing.T) {
	for _, base := range []string{"container", "short-forms", "variables", "autoscale", "ingress", "databases"} {
		t.Run(base, func(t *testing.T) {
			data, opts := archive(t, filepath.Join("testdata", "good", base+".txtar"))
			want, err := Parse(t.Context(), name, data, opts)
			if err != nil {
				t.Fatal(err)
			}
			rapid.Check(t, func(rt *rapid.T) {
				var doc yaml.Node
				if err := yaml.Unmarshal(data, &doc); err != nil {
					rt.Fatal(err)
				}
				reformat(rt, &doc)
				text, err := yaml.Marshal(&doc)
				if err != nil {
					rt.Fatal(err)
				}
				got, err := Parse(t.Context(), name, text, opts)
				if err != nil {
					rt.Fatalf("refused: %v\n%s", err, text)
				}
				if got.Spec.Hash != want.Spec.Hash {
					rt.Fatalf("hash %s, want %s\n%s", got.Spec.Hash, want.Spec.Hash, text)
				}
			})
		})
	}
}

func reformat(t *rapid.T, n *yaml.Node) {
	if n.ShortTag() == "!!null" {
		n.Value = "null" // the encoder writes nothing as '' where it has a comment
	}
	if rapid.IntRange(0, 4).Draw(t, "comment") == 0 {
		n.HeadComment = "# " + rapid.StringMatching(`[a-z:{}$ ]{0,20}`).Draw(t, "text")
	}
	switch n.Kind {
	case yaml.MappingNode:
		var pairs [][2]*yaml.Node
		for i := 0; i < len(n.Content); i += 2 {
			pairs = append(pairs, [2]*yaml.Node{n.Content[i], n.Content[i+1]})
		}
		n.Content = n.Content[:0]
		for _, p := range rapid.Permutation(pairs).Draw(t, "order") {
			n.Content = append(n.Content, p[0], p[1])
		}
		fallthrough
	case yaml.SequenceNode:
		if n.Style = 0; rapid.Bool().Draw(t, "flow") {
			n.Style = yaml.FlowStyle
		}
	case yaml.ScalarNode:
		if n.ShortTag() == "!!str" && rapid.Bool().Draw(t, "quotes") {
			n.Style = yaml.DoubleQuotedStyle
		}
	}
	for _, c := range n.Content {
		reformat(t, c)
	}
}

// What an instance is created from is in its service's hash; how many there
// are and how they are reached is only in the spec's.
func TestWhatIsInWhichHash(t *testing.T) {
	const base = `
services:
  web:
    image: acme/web:1
    environment: {A: "1"}
    deploy: {replicas: 2, resources: {limits: {cpus: "1", memory: 1G}}}
    x-autoscale: {min: 1, max: 4, cpu: {scale_out_above: 70%, scale_in_below: 30%}}
    x-ingress: {hosts: [a.example.com], port: 80}
  other: {image: acme/other}
`
	for _, c := range []struct {
		name, old, new string
		service        bool
	}{
		{"image", "web:1", "web:2", true},
		{"environment", `A: "1"`, `A: "2"`, true},
		{"limit", "memory: 1G", "memory: 2G", true},
		{"ingress port", "port: 80", "port: 81", true},
		{"a cleared command", "image: acme/web", "command: []\n    image: acme/web", true},
		{"hosts", "a.example", "b.example", false},
		{"policy", "max: 4", "max: 5", false},
		{"replicas", "replicas: 2", "replicas: 3", false},
		{"other service", "acme/other", "acme/another", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, after := hashes(t, base), hashes(t, strings.Replace(base, c.old, c.new, 1))
			if before.spec == after.spec {
				t.Error("the spec's hash has not changed")
			}
			if changed := before.web != after.web; changed != c.service {
				t.Errorf("the service's hash has changed: %v, want %v", changed, c.service)
			}
		})
	}
}

type pair struct{ spec, web string }

func hashes(t *testing.T, text string) pair {
	t.Helper()
	p, err := Parse(t.Context(), name, []byte(text), Options{Dir: "/srv/acme"})
	if err != nil {
		t.Fatal(err)
	}
	return pair{p.Spec.Hash, p.Spec.Services["web"].Hash}
}

// A file with a thousand mistakes is reported in a hundred lines.
func TestProblemsAreBounded(t *testing.T) {
	var lines []string
	for i := range 1000 {
		lines = append(lines, "    u"+strings.Repeat("x", i%7)+string(rune('a'+i%26))+strings.Repeat("y", i/7)+": 1")
	}
	_, err := Parse(t.Context(), name, []byte("services:\n  web:\n    image: x\n"+strings.Join(lines, "\n")), Options{Dir: "/srv/acme"})
	got := problems(t, err)
	if len(got) != mostProblems+1 || !strings.Contains(got[mostProblems].Problem, "more problems") {
		t.Errorf("%d problems, the last %v", len(got), got[len(got)-1])
	}
}

func BenchmarkParse(b *testing.B) {
	data, opts := archive(b, filepath.Join("testdata", "good", "container.txtar"))
	for b.Loop() {
		if _, err := Parse(b.Context(), name, data, opts); err != nil {
			b.Fatal(err)
		}
	}
}
