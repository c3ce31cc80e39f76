package state

import (
	"fmt"
	"time"
)

// Authority is what issues the hosts' certificates, in PEM. Its key is in the
// replicated state, because any host may have to issue one when it leads; the
// state is on disk in a directory that only root can read.
type Authority struct {
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

// String keeps the key out of logs.
func (a Authority) String() string {
	if a == (Authority{}) {
		return "no authority"
	}
	return "authority " + redacted
}

// GoString is String.
func (a Authority) GoString() string { return a.String() }

// Token lets hosts join until it expires or is revoked.
type Token struct {
	ID string `json:"id"`
	// Hash is of the token's secret, which is shown once and kept nowhere.
	Hash    string    `json:"hash"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}

// Denial is a server that was removed.
type Denial struct {
	Server string    `json:"server"`
	Host   string    `json:"host"`
	At     time.Time `json:"at"`
}

// maxTokens bounds the tokens that are in force at once.
const maxTokens = 100

// OpenCluster gives the cluster its authority, so that others can join. It is
// refused when there is one.
type OpenCluster struct {
	Authority Authority `json:"authority"`
}

// AddToken makes a token known. Expired ones are forgotten on the way.
type AddToken struct {
	ID      string    `json:"id"`
	Hash    string    `json:"hash"`
	Expires time.Time `json:"expires"`
}

// RevokeToken ends a token before its time.
type RevokeToken struct {
	ID string `json:"id"`
}

// Admit records that a host came with a token and gets a certificate. It is
// refused when the token is not in force, or the name another server's.
type Admit struct {
	Token  string `json:"token"`
	Server string `json:"server"`
	Host   string `json:"host"`
}

func (OpenCluster) kind() string { return "open_cluster" }
func (Admit) kind() string       { return "admit" }
func (AddToken) kind() string    { return "add_token" }
func (RevokeToken) kind() string { return "revoke_token" }

func (cmd OpenCluster) apply(ch *change) error {
	switch {
	case cmd.Authority.Cert == "" || cmd.Authority.Key == "":
		return refuse("an authority has a certificate and a key")
	case ch.Authority != (Authority{}):
		return refuse("the cluster has its authority already")
	}
	ch.Authority = cmd.Authority
	ch.event(Event{Kind: EventClusterOpened, Message: "hosts can join the cluster"})
	return nil
}

func (cmd AddToken) apply(ch *change) error {
	for t := range ch.Tokens.Values() {
		if !ch.now.Before(t.Expires) {
			ch.Tokens = ch.Tokens.Delete(t.ID)
		}
	}
	switch {
	case cmd.ID == "" || cmd.Hash == "":
		return refuse("a token has an id and a hash")
	case !ch.now.Before(cmd.Expires):
		return refuse("the token would have expired at %s", cmd.Expires.Format(time.RFC3339))
	case ch.Tokens.Len() >= maxTokens:
		return refuse("there are %d tokens; revoke some", maxTokens)
	}
	ch.Tokens = ch.Tokens.Put(cmd.ID, Token{ID: cmd.ID, Hash: cmd.Hash, Created: ch.now, Expires: cmd.Expires})
	ch.event(Event{Kind: EventTokenCreated, Message: fmt.Sprintf("token %s lets hosts join for %s", cmd.ID, Brief(cmd.Expires.Sub(ch.now)))})
	return nil
}

func (cmd Admit) apply(ch *change) error {
	t, ok := ch.Tokens.Get(cmd.Token)
	if !ok || !ch.now.Before(t.Expires) {
		return refuse("token %s is not in force; it has expired or was revoked", cmd.Token)
	}
	if _, denied := ch.Denied.Get(cmd.Server); denied {
		return refuse("server %s was removed from the cluster", cmd.Server)
	}
	if h, known := ch.Hosts.Get(cmd.Host); known && h.Server != cmd.Server {
		return refuse("there is a host %q already; choose another name (--host), or remove that one first", cmd.Host)
	}
	ch.event(Event{Kind: EventHostAdmitted, Host: cmd.Host, Message: fmt.Sprintf("host %s is admitted with token %s", cmd.Host, cmd.Token)})
	return nil
}

func (cmd RevokeToken) apply(ch *change) error {
	if _, ok := ch.Tokens.Get(cmd.ID); !ok {
		return refuse("there is no token %q", cmd.ID)
	}
	ch.Tokens = ch.Tokens.Delete(cmd.ID)
	ch.event(Event{Kind: EventTokenRevoked, Message: "token " + cmd.ID + " is revoked"})
	return nil
}
