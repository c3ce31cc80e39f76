package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"unicode"
)

const (
	// userAgent tells health checks from visitors in an instance's log.
	userAgent = "supervisord/health"
	// maxBody bounds how much of an answer is read; a health page is smaller.
	maxBody = 64 << 10
	// maxQuote is how many bytes of a bad answer's body an error quotes.
	maxQuote = 200
)

// newHTTPClient returns a client that uses each connection once: a check shall
// tell whether the instance still accepts. It follows no redirect, because the
// answer of another place tells nothing of this one, and knows no proxy.
func newHTTPClient(d *net.Dialer) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            d.DialContext,
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxBody,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (p *Prober) askHTTP(ctx context.Context, address, path string) error {
	if path == "" {
		path = "/"
	}
	doing := "GET " + path
	if !strings.HasPrefix(path, "/") {
		return fmt.Errorf("%s: want a path that begins with /", doing)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	req.Header.Set("User-Agent", userAgent)
	res, err := p.http.Do(req)
	if err != nil {
		kind := kindOf(err)
		// The client's own wrapping says GET and the address once more.
		var asked *url.Error
		if errors.As(err, &asked) {
			err = asked.Err
		}
		return classify(ctx, doing, err, kind)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode < 200 || res.StatusCode > 399 {
		// What cannot be read of the body is not quoted; the status is bad anyway.
		quote, _ := io.ReadAll(io.LimitReader(res.Body, maxQuote))
		if len(quote) == 0 {
			return badAnswer("%s: %s", doing, printable(res.Status))
		}
		return badAnswer("%s: %s: %s", doing, printable(res.Status), printable(string(quote)))
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(res.Body, maxBody)); err != nil {
		return classify(ctx, fmt.Sprintf("%s: %s: body", doing, printable(res.Status)), err, ErrBadAnswer)
	}
	return nil
}

// kindOf tells a connection that did not come about from one that gave no
// proper answer.
func kindOf(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return ErrRefused
	}
	return ErrBadAnswer
}

// printable makes a stranger's text fit for a line of a log.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(s, "?"))
	return strings.Join(strings.Fields(s), " ")
}
