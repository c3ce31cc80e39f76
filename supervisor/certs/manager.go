package certs

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"reflect"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"go.uber.org/zap"
)

// Settings say which CA is asked and how names are proven to it.
type Settings struct {
	// CA is the URL of its directory, Email the contact it is given.
	CA, Email string
	// Roots are in PEM what its connection is trusted by; empty for what the
	// host trusts.
	Roots string
	// DNS proves names by records; nil for HTTP.
	DNS *DNS
}

// Options are the parts of a Manager.
type Options struct {
	Store Store
	// Challenge is the "IP:port" on which this process answers CAs; see
	// Manager.ServeHTTP. It must be bound before the first order.
	Challenge string
	Log       *slog.Logger
}

// orderWithin bounds one attempt.
const orderWithin = 3 * time.Minute

// Manager orders certificates. All its calls are safe for concurrent use.
type Manager struct {
	Options
	cache *certmagic.Cache
	zap   *zap.Logger

	// waiting are the questions that have no answer yet.
	waiting atomic.Int32

	mu sync.Mutex
	// clients are of the settings last used, for orders and for rehearsals: a
	// client keeps connections.
	clients map[bool]client
}

type client struct {
	settings Settings
	config   *certmagic.Config
	issuer   *certmagic.ACMEIssuer
}

var errNoCache = errors.New("no certificate is served from memory")

// NewManager makes a Manager; the caller must Close it.
func NewManager(o Options) *Manager {
	m := &Manager{Options: o, zap: zap.New(toSlog{o.Log}), clients: map[bool]client{}}
	// certmagic wants a cache, and keeps nothing in it that nobody asks for.
	m.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return nil, errNoCache },
		Logger:           m.zap,
	})
	return m
}

// Close ends what certmagic runs.
func (m *Manager) Close() { m.cache.Stop() }

// dueKey is the context's key of what Order asks when it has the lock.
type dueKey struct{}

// Order orders a certificate for a host name, once, and keeps it in the Store.
// When the lock is held, due is asked whether it still is: another host may
// have ordered it meanwhile. Its errors are a *Failure, where the CA was asked,
// or say why it was not.
func (m *Manager) Order(ctx context.Context, s Settings, name string, renew bool, due func() error) error {
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, dueKey{}, due), orderWithin)
	defer cancel()
	c, err := m.client(s, false)
	if err != nil {
		return err
	}
	if renew {
		err = c.config.RenewCertSync(ctx, name, true)
	} else {
		err = c.config.ObtainCertSync(ctx, name)
	}
	return explain(err)
}

// Rehearse orders a certificate for a host name and keeps nothing of it.
func (m *Manager) Rehearse(ctx context.Context, s Settings, name string) error {
	ctx, cancel := context.WithTimeout(ctx, orderWithin)
	defer cancel()
	c, err := m.client(s, true)
	if err != nil {
		return err
	}
	return explain(c.config.ObtainCertSync(ctx, name))
}

// RenewalTime asks the CA when it wants a certificate to be renewed (RFC 9773).
// The moment is chosen at random in the CA's window. Zero where the CA does not
// say.
func (m *Manager) RenewalTime(ctx context.Context, s Settings, chain []byte) (time.Time, error) {
	leaf, err := leafOf(chain)
	if err != nil {
		return time.Time{}, err
	}
	c, err := m.client(s, false)
	if err != nil {
		return time.Time{}, err
	}
	var cert certmagic.Certificate
	cert.Leaf = leaf
	info, err := c.issuer.GetRenewalInfo(ctx, cert)
	if err != nil || !info.HasWindow() {
		return time.Time{}, explain(err)
	}
	return info.SelectedTime, nil
}

// client is the one of the settings, made anew where they have changed.
func (m *Manager) client(s Settings, rehearsal bool) (client, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c, ok := m.clients[rehearsal]; ok && reflect.DeepEqual(c.settings, s) {
		return c, nil
	}
	c, err := m.newClient(s, rehearsal)
	if err != nil {
		return client{}, err
	}
	m.clients[rehearsal] = c
	return c, nil
}

func (m *Manager) newClient(s Settings, rehearsal bool) (client, error) {
	host, port, err := net.SplitHostPort(m.Challenge)
	if err != nil {
		return client{}, fmt.Errorf("address for a CA's questions: %w", err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return client{}, fmt.Errorf("address for a CA's questions: %w", err)
	}
	var roots *x509.CertPool
	if s.Roots != "" {
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM([]byte(s.Roots)) {
			return client{}, errors.New("the CA's roots have no certificate in PEM")
		}
	}
	var dns acmez.Solver
	if s.DNS != nil {
		dns = dnsSolver{*s.DNS}
	}
	// Every value is given: what is left out would be certmagic's default of the
	// whole process.
	config := certmagic.New(m.cache, certmagic.Config{
		RenewalWindowRatio:  1.0 / 3,
		KeySource:           certmagic.StandardKeyGenerator{KeyType: certmagic.P256},
		Storage:             newStorage(m.Store, s.CA, "", rehearsal),
		OCSP:                certmagic.OCSPConfig{DisableStapling: true},
		OnEvent:             lookAgain,
		DisableStorageCheck: true,
		Logger:              m.zap,
	})
	issuer := certmagic.NewACMEIssuer(config, certmagic.ACMEIssuer{
		CA: s.CA, TestCA: s.CA, Email: s.Email, Agreed: true, TrustedRoots: roots,
		DisableTLSALPNChallenge: true, DNS01Solver: dns,
		// certmagic looks whether somebody listens there, which this process
		// does, and leaves it at that.
		ListenHost: host, AltHTTPPort: number,
		CertObtainTimeout: orderWithin, Logger: m.zap,
	})
	config.Storage.(*storage).issuer = issuer.IssuerKey()
	config.Issuers = []certmagic.Issuer{issuer}
	return client{s, config, issuer}, nil
}

// lookAgain asks, with the lock held, whether the order is still due.
func lookAgain(ctx context.Context, event string, _ map[string]any) error {
	if due, ok := ctx.Value(dueKey{}).(func() error); ok && event == "cert_obtaining" && due != nil {
		return due()
	}
	return nil
}
