package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/supervisord/supervisord/raftstore"
	"github.com/supervisord/supervisord/raftstore/pki"
	"github.com/supervisord/supervisord/raftstore/wire"
	"github.com/supervisord/supervisord/supervisor/seal"
	"github.com/supervisord/supervisord/supervisor/state"
)

// PeerPort is the default port between hosts, for the log and the calls.
const PeerPort = 7946

// InitOptions say what the first host of a cluster is. Host and addresses have
// defaults: the machine's name, and its address on the way out.
type InitOptions struct {
	StateDir string
	// Host is its name, Advertise the "IP" or "IP:port" that the others reach
	// it at, Address the IP where its instances are published.
	Host, Advertise, Address string
	// TokenTTL is how long the first token is good for.
	TokenTTL time.Duration
}

// Invitation is all that another host needs to join.
type Invitation struct {
	// Address is the "IP:port" of the host that answers.
	Address string
	Token   string
	Expires time.Time
}

// Errors of Init and Join.
var (
	// ErrMember: this host is in a cluster that others can join.
	ErrMember = errors.New("this host is in a cluster already")
	// ErrOwnState: this host has a state of its own, which it would lose.
	ErrOwnState = errors.New("this host has run as a cluster of its own")
)

// Init makes this host the first of a cluster that others can join: it makes
// the cluster's authority and this host's certificate and writes them to the
// state directory. What a cluster of one has already is kept. The daemon takes
// it up at its next start.
func Init(ctx context.Context, o InitOptions) (Invitation, error) {
	m, id, err := newMember(o.StateDir, o.Host, o.Advertise, o.Address, func() (net.IP, error) { return outgoing(ctx) })
	if err != nil {
		return Invitation{}, err
	}
	now := time.Now()
	authority, err := pki.NewAuthority(m.Host, now)
	if err != nil {
		return Invitation{}, fmt.Errorf("authority: %w", err)
	}
	key, request, err := pki.NewRequest()
	if err != nil {
		return Invitation{}, fmt.Errorf("certificate: %w", err)
	}
	cert, err := authority.Issue(request, id, m.Host, now)
	if err != nil {
		return Invitation{}, fmt.Errorf("certificate: %w", err)
	}
	print, err := pki.Fingerprint(authority.Cert)
	if err != nil {
		return Invitation{}, err
	}
	token := pki.NewToken(print)
	m.Opening = &opening{
		Cert: string(authority.Cert), Key: string(authority.Key),
		Token: state.AddToken{ID: token.ID, Hash: token.Hash(), Expires: now.Add(o.TokenTTL).UTC()},
	}
	if err := m.keep(o.StateDir, pki.Identity{CA: authority.Cert, Cert: cert, Key: key}); err != nil {
		return Invitation{}, err
	}
	return Invitation{Address: m.Advertise, Token: token.String(), Expires: m.Opening.Token.Expires}, nil
}

// newMember checks that this host can become a member, and fills in what the
// caller left open.
func newMember(stateDir, host, advertise, address string, own func() (net.IP, error)) (m membership, id string, err error) {
	if was, err := readMembership(stateDir); err != nil {
		return m, "", err
	} else if was != nil {
		return m, "", fmt.Errorf("%w, as %s at %s", ErrMember, was.Host, was.Advertise)
	}
	m = membership{Host: host, Address: address}
	if m.Host == "" {
		if m.Host, err = os.Hostname(); err != nil {
			return m, "", fmt.Errorf("name of this machine (or give --host): %w", err)
		}
	}
	if m.Advertise, err = advertised(advertise, own); err != nil {
		return m, "", err
	}
	if m.Address == "" {
		m.Address, _, _ = net.SplitHostPort(m.Advertise)
	}
	if net.ParseIP(m.Address) == nil {
		return m, "", fmt.Errorf("--address: %q: want an IP address of this host", m.Address)
	}
	id, err = raftstore.ServerID(stateDir)
	return m, id, err
}

// advertised makes an "IP:port" of what the operator wrote.
func advertised(text string, own func() (net.IP, error)) (string, error) {
	host, port := text, strconv.Itoa(PeerPort)
	if h, p, err := net.SplitHostPort(text); err == nil {
		host, port = h, p
	}
	if host == "" {
		ip, err := own()
		if err != nil {
			return "", fmt.Errorf("find this host's address (or give --advertise): %w", err)
		}
		host = ip.String()
	}
	ip := net.ParseIP(host)
	if n, err := strconv.ParseUint(port, 10, 16); ip == nil || ip.IsUnspecified() || err != nil || n == 0 {
		return "", fmt.Errorf("--advertise: %q: want the IP or IP:port that the other hosts reach this one at", text)
	}
	return net.JoinHostPort(host, port), nil
}

// outgoing is the address that this host has towards the world. Nothing is
// sent to find it out.
func outgoing(ctx context.Context) (net.IP, error) {
	// An address for documentation (RFC 5737): any that is not local will do.
	return towards(ctx, "192.0.2.1:9")
}

// towards is the address that this host has towards another.
func towards(ctx context.Context, address string) (net.IP, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	host, _, err := net.SplitHostPort(c.LocalAddr().String())
	if err != nil {
		return nil, err
	}
	return net.ParseIP(host), nil
}

// keep writes the identity and then the membership, whose presence says that
// all is there.
func (m membership) keep(stateDir string, identity pki.Identity) error {
	if err := identity.Save(identityPath(stateDir)); err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	return m.write(stateDir)
}

// JoinOptions say which cluster a host joins, and as what; see InitOptions.
type JoinOptions struct {
	StateDir                 string
	Host, Advertise, Address string
	// To is the "IP:port" of any host of the cluster.
	To    string
	Token string
}

// Joined is what came of Join.
type Joined struct {
	Cluster   string
	Host      string
	Advertise string
}

// pathAdmit is the only call that needs no certificate.
const pathAdmit = "/join/v1/admit"

type admitBody struct {
	Token     string `json:"token"`
	Server    string `json:"server"`
	Host      string `json:"host"`
	Advertise string `json:"advertise"`
	Request   []byte `json:"request"`
}

type admitAnswer struct {
	Error   string   `json:"error,omitempty"`
	Cluster string   `json:"cluster,omitempty"`
	CA      []byte   `json:"ca,omitempty"`
	Cert    []byte   `json:"cert,omitempty"`
	Peers   []string `json:"peers,omitempty"`
	// Key is what secrets of the state are sealed with.
	Key []byte `json:"key,omitempty"`
}

// joinWithin bounds the whole of an admission.
const joinWithin = 20 * time.Second

// Join gets this host its certificate from a cluster that it has a token of,
// and writes it to the state directory. The daemon enters the cluster at its
// next start.
func Join(ctx context.Context, o JoinOptions) (Joined, error) {
	ctx, cancel := context.WithTimeout(ctx, joinWithin)
	defer cancel()
	token, err := pki.ParseToken(o.Token)
	if err != nil {
		return Joined{}, fmt.Errorf("token: %w", err)
	}
	if _, _, err := net.SplitHostPort(o.To); err != nil {
		o.To = net.JoinHostPort(o.To, strconv.Itoa(PeerPort))
	}
	if has, err := raftstore.HasState(o.StateDir); err != nil {
		return Joined{}, err
	} else if has {
		if m, err := readMembership(o.StateDir); err == nil && m != nil {
			return Joined{}, fmt.Errorf("%w, as %s at %s", ErrMember, m.Host, m.Advertise)
		}
		return Joined{}, fmt.Errorf("%w; to give that up, stop the daemon and move %s away", ErrOwnState, o.StateDir)
	}
	m, id, err := newMember(o.StateDir, o.Host, o.Advertise, o.Address, func() (net.IP, error) { return towards(ctx, o.To) })
	if err != nil {
		return Joined{}, err
	}
	key, request, err := pki.NewRequest()
	if err != nil {
		return Joined{}, fmt.Errorf("certificate: %w", err)
	}
	a, err := askAdmission(ctx, wire.AdmissionClient(token.Fingerprint), o.To,
		admitBody{Token: token.String(), Server: id, Host: m.Host, Advertise: m.Advertise, Request: request})
	if err != nil {
		return Joined{}, err
	}
	m.Cluster, m.Peers = a.Cluster, a.Peers
	if !slices.Contains(m.Peers, o.To) {
		m.Peers = append([]string{o.To}, m.Peers...)
	}
	if len(a.Key) > 0 {
		if _, err := seal.New(o.StateDir).Add(a.Key); err != nil {
			return Joined{}, err
		}
	}
	if err := m.keep(o.StateDir, pki.Identity{CA: a.CA, Cert: a.Cert, Key: key}); err != nil {
		return Joined{}, err
	}
	return Joined{Cluster: m.Cluster, Host: m.Host, Advertise: m.Advertise}, nil
}

func askAdmission(ctx context.Context, c *http.Client, to string, body admitBody) (a admitAnswer, err error) {
	defer c.CloseIdleConnections()
	data, err := json.Marshal(body)
	if err != nil {
		return a, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+to+pathAdmit, bytes.NewReader(data))
	if err != nil {
		return a, fmt.Errorf("ask %s: %w", to, err)
	}
	response, err := c.Do(r)
	if err != nil {
		return a, fmt.Errorf("ask %s: %w", to, err)
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAdmission)).Decode(&a); err != nil {
		return a, fmt.Errorf("read the answer of %s: %w", to, err)
	}
	if a.Error != "" {
		return a, fmt.Errorf("%s does not let this host in: %s", to, a.Error)
	}
	return a, nil
}

const maxAdmission = 64 << 10

// porter lets hosts with a token in. It answers strangers.
type porter struct{ *node }

// ServeHTTP implements http.Handler.
func (p porter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.URL.Path != pathAdmit {
		http.NotFound(w, r)
		return
	}
	var body admitBody
	var a admitAnswer
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAdmission)).Decode(&body)
	if err == nil {
		a, err = p.admit(r.Context(), body)
	}
	if err != nil {
		p.log.InfoContext(r.Context(), "a host is not let in", "from", r.RemoteAddr, "err", err)
		a = admitAnswer{Error: err.Error()}
	}
	if err := json.NewEncoder(w).Encode(a); err != nil {
		p.log.InfoContext(r.Context(), "an admission did not reach its host", "from", r.RemoteAddr, "err", err)
	}
}

var errNoAdmission = errors.New("the token is not in force; it has expired, was revoked, or is another cluster's")

func (p porter) admit(ctx context.Context, b admitBody) (admitAnswer, error) {
	token, err := pki.ParseToken(b.Token)
	if err != nil {
		return admitAnswer{}, errNoAdmission
	}
	c, _ := p.replica.Current()
	known, ok := c.Tokens.Get(token.ID)
	if !ok || !pki.HashMatches(known.Hash, token) {
		return admitAnswer{}, errNoAdmission
	}
	if b.Server == "" || b.Host == "" {
		return admitAnswer{}, errors.New("a host has a server id and a name")
	}
	// This host's copy may be old; the log knows whether the token still is in
	// force.
	refused, err := p.proposer.Propose(ctx, state.Admit{Token: token.ID, Server: b.Server, Host: b.Host})
	if err = errors.Join(append(refused, err)...); err != nil {
		return admitAnswer{}, err
	}
	authority := pki.Authority{Cert: []byte(c.Authority.Cert), Key: []byte(c.Authority.Key)}
	cert, err := authority.Issue(b.Request, b.Server, b.Host, time.Now())
	if err != nil {
		return admitAnswer{}, fmt.Errorf("certificate: %w", err)
	}
	a := admitAnswer{Cluster: c.ID, CA: authority.Cert, Cert: cert, Key: p.sealKey(c)}
	for h := range c.Hosts.Values() {
		if h.Peer != "" {
			a.Peers = append(a.Peers, h.Peer)
		}
	}
	return a, nil
}
