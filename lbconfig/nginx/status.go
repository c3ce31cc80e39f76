package nginx

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// askGeneration asks the status server at an address. Each call makes a
// connection of its own, because a connection stays with the worker, and so
// the generation, that accepted it.
func askGeneration(ctx context.Context, address string) (uint64, error) {
	n, err := dialGeneration(ctx, address)
	if err != nil {
		return 0, fmt.Errorf("asking nginx at %s for its generation: %w", address, err)
	}
	return n, nil
}

func dialGeneration(ctx context.Context, address string) (uint64, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := io.WriteString(conn, "GET /generation HTTP/1.0\r\n\r\n"); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64))
	if err != nil {
		return 0, err
	}
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("status %s; is it nginx that listens there?", resp.Status)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(body)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("answer %q is not a generation", body)
	}
	return n, nil
}
