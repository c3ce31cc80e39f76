package certs

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/mholt/acmez/v3/acme"
)

// Failure is an order that came to nothing.
type Failure struct {
	// Detail is what the CA says, or why it could not be asked.
	Detail string
	// Unreachable: the CA did not answer, or was not able to work.
	Unreachable bool
	// Limited: the CA wants fewer orders.
	Limited bool
	err     error
}

func (f *Failure) Error() string { return f.Detail }

// Unwrap is the error that it was made of.
func (f *Failure) Unwrap() error { return f.err }

// explain makes a Failure of what certmagic returns; nil of nil.
func explain(err error) error {
	if err == nil {
		return nil
	}
	f := &Failure{Detail: err.Error(), err: err}
	var p acme.Problem
	if errors.As(err, &p) {
		f.Detail = problemText(p)
		f.Limited = p.Status == http.StatusTooManyRequests || p.Type == acme.ProblemTypeRateLimited
		f.Unreachable = p.Status >= http.StatusInternalServerError
		return f
	}
	// Where the CA has forgotten the account, certmagic makes another one and
	// then tries with the one that is gone (v0.25.6, ACMEIssuer.doIssue).
	if strings.HasSuffix(err.Error(), "no certificate chains") {
		f.Unreachable = true
		f.Detail = "the CA does not know this cluster's account any more; another one has been made"
		return f
	}
	_, broken := errors.AsType[*url.Error](err)
	_, cut := errors.AsType[net.Error](err)
	if broken || cut {
		f.Unreachable = true
		f.Detail = "the CA cannot be reached: " + rootText(err)
	}
	return f
}

func problemText(p acme.Problem) string {
	text := strings.TrimPrefix(p.Type, "urn:ietf:params:acme:error:") + ": " + p.Detail
	for _, s := range p.Subproblems {
		text += "; " + s.Detail
	}
	return text
}

// rootText leaves out what certmagic says around the error of the connection.
func rootText(err error) string {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Error()
	}
	return err.Error()
}
