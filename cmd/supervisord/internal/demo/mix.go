package demo

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// request is one kind of request, in the form in which it is sent.
type request struct {
	text  []byte
	fresh bool
	// head says to the parser of the answer what was asked.
	head *http.Request
}

// variant is a method with its two forms.
type variant struct {
	kept, fresh request
	// owed is the share of a fresh request that is due by now.
	owed float64
}

// mix says which request comes next. It goes by turns, not by chance, so that
// a load is the same each time it is run.
type mix struct {
	variants []variant
	// cycle has the index of a variant for each turn.
	cycle []int
	turn  int
	share float64
}

// maxWeight bounds the sum of the weights.
const maxWeight = 10_000

func newMix(u *url.URL, o LoadOptions) (*mix, error) {
	m := &mix{share: o.Fresh}
	weights := make([]int, len(o.Methods))
	total := 0
	for n, method := range o.Methods {
		if method.Name == "" || strings.ContainsFunc(method.Name, func(r rune) bool { return r < 'A' || r > 'Z' }) {
			return nil, fmt.Errorf("methods: %q: want a name such as GET", method.Name)
		}
		if method.Weight < 1 || method.Weight > maxWeight-total {
			return nil, fmt.Errorf("methods: %s has weight %d: want at least 1, and at most %d together", method.Name, method.Weight, maxWeight)
		}
		v, err := newVariant(method.Name, u, o.Host)
		if err != nil {
			return nil, err
		}
		m.variants = append(m.variants, v)
		weights[n] = method.Weight
		total += method.Weight
	}
	m.cycle = spread(weights, total)
	return m, nil
}

// spread makes a cycle in which each index comes as often as its weight says
// and as evenly as can be.
func spread(weights []int, total int) []int {
	cycle := make([]int, 0, total)
	owed := make([]int, len(weights))
	for range total {
		best := 0
		for n, w := range weights {
			if owed[n] += w; owed[n] > owed[best] {
				best = n
			}
		}
		owed[best] -= total
		cycle = append(cycle, best)
	}
	return cycle
}

// next is the request of this turn. Each method has its own count of what is
// owed, or two shares with a common measure would always fall together.
func (m *mix) next() request {
	v := &m.variants[m.cycle[m.turn]]
	m.turn = (m.turn + 1) % len(m.cycle)
	// Shares such as 0.1 are not exact; ten of them shall make a whole.
	const tolerance = 1e-9
	if v.owed += m.share; v.owed >= 1-tolerance {
		v.owed--
		return v.fresh
	}
	return v.kept
}

func newVariant(method string, u *url.URL, host string) (variant, error) {
	host = cmp.Or(host, u.Host)
	if strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return variant{}, fmt.Errorf("host: %q: want a host name", host)
	}
	head, err := http.NewRequest(method, u.String(), nil)
	if err != nil {
		return variant{}, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: supervisord/load\r\n", method, u.RequestURI(), host)
	body := ""
	switch method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
		body = "load=1"
		fmt.Fprintf(&b, "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n", len(body))
	}
	return variant{
		kept:  request{text: []byte(b.String() + "\r\n" + body), head: head},
		fresh: request{text: []byte(b.String() + "Connection: close\r\n\r\n" + body), head: head, fresh: true},
	}, nil
}
