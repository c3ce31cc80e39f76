package probe

import (
	"fmt"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

// The role and database that a check names: those that nearly every server
// has, so that its log stays quiet. Whether they exist makes no difference.
const (
	postgresUser     = "postgres"
	postgresDatabase = "postgres"
	// maxPostgresMessage bounds an answer; a server's first is far smaller.
	maxPostgresMessage = 64 << 10
	// postgresTooMany is too_many_connections.
	postgresTooMany = "53300"
)

// askPostgres does what pg_isready does: it begins a session and looks at the
// first answer. A demand for credentials is a good one, and the session ends
// there, so that no failed login is logged. Nothing secret is sent, hence no
// TLS; a server that insists on it answers with class 28.
// See https://www.postgresql.org/docs/current/errcodes-appendix.html.
func askPostgres(conn net.Conn) error {
	f := pgproto3.NewFrontend(conn, conn)
	f.SetMaxBodyLen(maxPostgresMessage)
	f.Send(&pgproto3.StartupMessage{
		ProtocolVersion: pgproto3.ProtocolVersion30,
		Parameters: map[string]string{
			"user": postgresUser, "database": postgresDatabase, "application_name": userAgent,
		},
	})
	if err := f.Flush(); err != nil {
		return err
	}
	for {
		m, err := f.Receive()
		if err != nil {
			return fmt.Errorf("no answer of a PostgreSQL server: %w", err)
		}
		switch m := m.(type) {
		case *pgproto3.NoticeResponse, *pgproto3.NegotiateProtocolVersion:
			// Allowed at any time; the answer follows.
		case *pgproto3.ErrorResponse:
			return judgePostgres(m)
		case pgproto3.AuthenticationResponseMessage:
			// Hanging up now is quiet; a server that waits for a password logs
			// anything else that it is sent, a goodbye too.
			return nil
		default:
			return badAnswer("no answer of a PostgreSQL server: unexpected message %T", m)
		}
	}
}

// judgePostgres says whether a server that answers with an error accepts
// connections: one that refuses who we are (class 28), which database we name
// (3D) or our right to it (42501) does. So does one at its limit of
// connections: it works, and to replace it would only make things worse.
func judgePostgres(m *pgproto3.ErrorResponse) error {
	switch {
	case strings.HasPrefix(m.Code, "28"), strings.HasPrefix(m.Code, "3D"), m.Code == "42501", m.Code == postgresTooMany:
		return nil
	}
	return badAnswer("%s (SQLSTATE %s)", printable(m.Message), printable(m.Code))
}
