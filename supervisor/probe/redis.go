package probe

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
)

// maxRedisLine bounds the answer to PING.
const maxRedisLine = 512

// askRedis sends PING. A server that wants credentials first is alive, and so
// is one at its limit of clients; one that still loads its data is not ready.
// See https://redis.io/docs/latest/develop/reference/protocol-spec/.
func askRedis(conn net.Conn) error {
	if _, err := io.WriteString(conn, "*1\r\n$4\r\nPING\r\n"); err != nil {
		return err
	}
	line, err := bufio.NewReader(io.LimitReader(conn, maxRedisLine)).ReadString('\n')
	if err != nil {
		if line != "" {
			return badAnswer("PING: no line of the Redis protocol: %s", printable(line))
		}
		return fmt.Errorf("PING: %w", err)
	}
	line = strings.TrimRight(line, "\r\n")
	word, _, _ := strings.Cut(line, " ")
	switch {
	case word == "+PONG", word == "-NOAUTH", word == "-NOPERM", line == "-ERR max number of clients reached":
		return nil
	}
	return badAnswer("PING: %s", printable(line))
}
