package certs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/libdns/libdns"
	"github.com/libdns/rfc2136"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// DNS says how records are set.
type DNS struct {
	// Exec is a program with its first arguments; it gets "present" or
	// "cleanup", the record's name and its value.
	Exec []string
	// Server, Zone, KeyName and Algorithm are of dynamic updates (RFC 2136)
	// where Exec is empty; KeyFile has the key in base64.
	Server, Zone, KeyName, Algorithm, KeyFile string
	// Wait is the time between setting a record and the CA's question.
	Wait time.Duration
}

// dnsSolver proves names by TXT records.
type dnsSolver struct{ DNS }

var (
	_ acmez.Solver = dnsSolver{}
	_ acmez.Waiter = dnsSolver{}
)

// hookWithin bounds one run of a program.
const hookWithin = time.Minute

// Present implements acmez.Solver.
func (d dnsSolver) Present(ctx context.Context, c acme.Challenge) error {
	if len(d.Exec) > 0 {
		return d.run(ctx, "present", c)
	}
	return d.update(ctx, c, func(ctx context.Context, p *rfc2136.Provider, zone string, r []libdns.Record) error {
		_, err := p.AppendRecords(ctx, zone, r)
		return err
	})
}

// CleanUp implements acmez.Solver.
func (d dnsSolver) CleanUp(ctx context.Context, c acme.Challenge) error {
	if len(d.Exec) > 0 {
		return d.run(ctx, "cleanup", c)
	}
	return d.update(ctx, c, func(ctx context.Context, p *rfc2136.Provider, zone string, r []libdns.Record) error {
		_, err := p.DeleteRecords(ctx, zone, r)
		return err
	})
}

// Wait implements acmez.Waiter.
func (d dnsSolver) Wait(ctx context.Context, _ acme.Challenge) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d.DNS.Wait):
		return nil
	}
}

// run runs the program; what it prints is part of the error.
func (d dnsSolver) run(ctx context.Context, what string, c acme.Challenge) error {
	ctx, cancel := context.WithTimeout(ctx, hookWithin)
	defer cancel()
	args := append(slices.Clone(d.Exec[1:]), what, c.DNS01TXTRecordName(), c.DNS01KeyAuthorization())
	cmd := exec.CommandContext(ctx, d.Exec[0], args...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s %s: %w: %.500s", d.Exec[0], what, c.DNS01TXTRecordName(), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (d dnsSolver) update(ctx context.Context, c acme.Challenge, do func(context.Context, *rfc2136.Provider, string, []libdns.Record) error) error {
	name := c.DNS01TXTRecordName()
	if name != d.Zone && !strings.HasSuffix(name, "."+d.Zone) {
		return fmt.Errorf("%s is not in zone %s", name, d.Zone)
	}
	key, err := os.ReadFile(d.KeyFile)
	if err != nil {
		return fmt.Errorf("key for updates of zone %s: %w", d.Zone, err)
	}
	p := &rfc2136.Provider{KeyName: d.KeyName, KeyAlg: d.Algorithm, Key: strings.TrimSpace(string(key)), Server: d.Server}
	record := libdns.TXT{Name: libdns.RelativeName(name+".", d.Zone+"."), Text: c.DNS01KeyAuthorization(), TTL: time.Minute}
	if err := do(ctx, p, d.Zone, []libdns.Record{record}); err != nil {
		return fmt.Errorf("update zone %s at %s: %w", d.Zone, d.Server, errors.Join(err, ctx.Err()))
	}
	return nil
}
