package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Kind is the protocol of a check.
type Kind string

// The kinds. MySQL is MariaDB's protocol, too, and Redis is Valkey's.
const (
	HTTP     Kind = "http"
	TCP      Kind = "tcp"
	Postgres Kind = "postgres"
	MySQL    Kind = "mysql"
	Redis    Kind = "redis"
)

// DefaultTimeout is the timeout of a check that names none.
const DefaultTimeout = 5 * time.Second

// Check is one question to one server.
type Check struct {
	Kind Kind
	// Address is host:port.
	Address string
	// Path is what an HTTP check asks for, with its query if it has one; ""
	// is "/". The other kinds have none.
	Path string
	// Timeout bounds the whole check, from the connection to the end of the
	// answer; zero is DefaultTimeout. A context that ends earlier counts.
	Timeout time.Duration
}

// Result is what a good answer tells.
type Result struct {
	// Latency is how long the whole check took.
	Latency time.Duration
}

// Prober makes checks. It may be used by many goroutines at once.
type Prober struct {
	dial net.Dialer
	http *http.Client
}

// New returns a Prober. It holds no connection and needs no closing.
func New() *Prober {
	p := &Prober{}
	p.http = newHTTPClient(&p.dial)
	return p
}

// Probe makes one check. It returns nil if the server accepts connections and
// says that it is well; otherwise an error that says what came instead and
// wraps ErrRefused, ErrTimeout or ErrBadAnswer. When the caller's context was
// cancelled the error wraps that alone, as it tells nothing of the server.
func (p *Prober) Probe(ctx context.Context, c Check) (Result, error) {
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	start := time.Now()
	var err error
	switch c.Kind {
	case HTTP:
		err = p.askHTTP(ctx, c.Address, c.Path)
	case TCP:
		err = p.converse(ctx, c, askTCP)
	case Postgres:
		err = p.converse(ctx, c, askPostgres)
	case MySQL:
		err = p.converse(ctx, c, askMySQL)
	case Redis:
		err = p.converse(ctx, c, askRedis)
	default:
		err = fmt.Errorf("check of %s: unknown kind %q: want http, tcp, postgres, mysql or redis", c.Address, c.Kind)
	}
	if err != nil {
		return Result{}, err
	}
	return Result{Latency: time.Since(start)}, nil
}

// converse connects, lets ask talk, and closes. The context's end breaks off
// whatever ask waits for.
func (p *Prober) converse(ctx context.Context, c Check, ask func(net.Conn) error) error {
	conn, err := p.dial.DialContext(ctx, "tcp", c.Address)
	if err != nil {
		return classify(ctx, fmt.Sprintf("%s %s", c.Kind, c.Address), err, ErrRefused)
	}
	// A check only reads and asks: nothing is lost if the close fails.
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	err = ask(conn)
	if err == nil && errors.Is(ctx.Err(), context.Canceled) {
		// A TCP check takes silence for a good sign, and this one was cut short.
		err = ctx.Err()
	}
	if err != nil {
		return classify(ctx, fmt.Sprintf("%s %s", c.Kind, c.Address), err, ErrBadAnswer)
	}
	return nil
}
