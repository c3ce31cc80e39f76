package probe

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

// Of the protocol of MySQL and MariaDB,
// https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html.
const (
	mysqlProtocol = 10
	// The first byte of an answer.
	mysqlOK, mysqlMore, mysqlSwitch, mysqlErr = 0x00, 0x01, 0xfe, 0xff
	// CLIENT_LONG_PASSWORD, CLIENT_PROTOCOL_41, CLIENT_SECURE_CONNECTION and
	// CLIENT_PLUGIN_AUTH.
	mysqlCapabilities = 0x1 | 0x200 | 0x8000 | 0x80000
	mysqlUTF8         = 33
	// ER_CON_COUNT_ERROR and ER_SERVER_SHUTDOWN.
	mysqlTooMany, mysqlShutdown = 1040, 1053
	maxMySQLPacket              = 64 << 10
	// mysqlRounds bounds how often a server may ask on before it decides.
	mysqlRounds = 4
	// mysqlUser needs not exist, and should not.
	mysqlUser = "supervisord_health"
)

// askMySQL reads the server's greeting and lets itself be turned away. To hang
// up after the greeting would tell as much, but servers count that as an
// interrupted handshake, and after max_connect_errors of them (100) they block
// the whole host. A login that is refused is not counted.
func askMySQL(conn net.Conn) error {
	greeting, seq, err := readMySQL(conn)
	if err != nil {
		return fmt.Errorf("greeting: %w", err)
	}
	if greeting[0] == mysqlErr {
		return judgeMySQL("greeting", greeting)
	}
	if err := checkGreeting(greeting); err != nil {
		return err
	}
	answer := loginMySQL()
	for range mysqlRounds {
		if err := writeMySQL(conn, seq+1, answer); err != nil {
			return fmt.Errorf("login: %w", err)
		}
		var reply []byte
		if reply, seq, err = readMySQL(conn); err != nil {
			return fmt.Errorf("login: %w", err)
		}
		switch reply[0] {
		case mysqlOK:
			// A server without passwords. COM_QUIT is the polite end.
			_ = writeMySQL(conn, 0, []byte{1})
			return nil
		case mysqlErr:
			return judgeMySQL("login", reply)
		case mysqlSwitch, mysqlMore:
			// Another way to log in: an empty password there, too.
			answer = nil
		default:
			return badAnswer("login: unexpected packet 0x%02x", reply[0])
		}
	}
	return badAnswer("login: no decision after %d rounds", mysqlRounds)
}

// checkGreeting: protocol version, server version up to a NUL, connection id
// (4), the first part of the challenge (8), a filler and capabilities (2).
func checkGreeting(p []byte) error {
	if p[0] != mysqlProtocol {
		return badAnswer("greeting: no MySQL server, or one of protocol %d: want %d", p[0], mysqlProtocol)
	}
	end := bytes.IndexByte(p, 0)
	if end < 2 || len(p) < end+1+4+8+1+2 {
		return badAnswer("greeting: cut short after %d bytes", len(p))
	}
	return nil
}

// judgeMySQL says whether a server that answers with an error accepts
// connections. After the greeting every refusal is one of who we are. A server
// at its limit of connections works, and to replace it would only make things
// worse.
func judgeMySQL(at string, p []byte) error {
	if len(p) < 3 {
		return badAnswer("%s: error packet cut short", at)
	}
	code, text := binary.LittleEndian.Uint16(p[1:]), p[3:]
	if len(text) >= 6 && text[0] == '#' {
		text = text[6:]
	}
	if code == mysqlTooMany || at == "login" && code != mysqlShutdown {
		return nil
	}
	return badAnswer("%s: error %d: %s", at, code, printable(string(text)))
}

// loginMySQL is a HandshakeResponse41 without a password.
func loginMySQL() []byte {
	p := binary.LittleEndian.AppendUint32(nil, mysqlCapabilities)
	p = binary.LittleEndian.AppendUint32(p, maxMySQLPacket)
	p = append(p, mysqlUTF8)
	p = append(p, make([]byte, 23)...)
	p = append(p, mysqlUser+"\x00"...)
	p = append(p, 0)
	return append(p, "mysql_native_password\x00"...)
}

// readMySQL reads one packet of at least one byte: length (3, little endian),
// sequence number, payload.
func readMySQL(r io.Reader) (payload []byte, seq byte, err error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, 0, fmt.Errorf("no packet of a MySQL server: %w", err)
	}
	n := int(head[0]) | int(head[1])<<8 | int(head[2])<<16
	if n == 0 || n > maxMySQLPacket {
		return nil, 0, badAnswer("no packet of a MySQL server: length %d", n)
	}
	payload = make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		return nil, 0, fmt.Errorf("packet cut short: %w", err)
	}
	return payload, head[3], nil
}

func writeMySQL(w io.Writer, seq byte, payload []byte) error {
	n := len(payload)
	_, err := w.Write(append([]byte{byte(n), byte(n >> 8), byte(n >> 16), seq}, payload...))
	return err
}
