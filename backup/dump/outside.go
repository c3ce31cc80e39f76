package dump

import (
	"errors"
	"fmt"
	"net"
	"os"
)

// Outside is a database that other hosts have, for this host's tools.
type Outside struct {
	// Address is "host:port".
	Address string
	// User is the account; empty only for Redis, whose nameless one it is.
	User string
	// File is the path of a file of this host with the password, which only its
	// owner can read: a .pgpass of PostgreSQL, an option file with a [client]
	// section of MySQL and MariaDB, the password alone of Redis.
	File string
}

// NewOutside returns the tools of an engine on this host, for a database
// elsewhere. The password passes from the file to the tools by itself.
func NewOutside(o Options, at Outside) (Engine, error) {
	host, port, err := net.SplitHostPort(at.Address)
	if err != nil {
		return nil, fmt.Errorf("find the database: %w", err)
	}
	if err := private(at.File); err != nil {
		return nil, err
	}
	var env []string
	switch o.Engine {
	case "postgres":
		env = []string{"PGHOST=" + host, "PGPORT=" + port, "PGUSER=" + at.User, "PGPASSFILE=" + at.File, "POSTGRES_DB=" + o.Database}
	case "mysql", "mariadb":
		env = []string{"SVD_HOST=" + host, "SVD_PORT=" + port, "SVD_USER=" + at.User, "SVD_LOGIN=" + at.File}
	case "redis":
		env = []string{"SVD_HOST=" + host, "SVD_PORT=" + port, "SVD_USER=" + at.User, "REDIS_PASSWORD_FILE=" + at.File}
	}
	return New(o, Host{Env: env})
}

// ErrCredentials: the file with the password cannot be used.
var ErrCredentials = errors.New("the credentials file cannot be used")

func private(file string) error {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrCredentials, err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%w: %s is no file", ErrCredentials, file)
	case info.Size() == 0:
		return fmt.Errorf("%w: %s is empty", ErrCredentials, file)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%w: %s can be read by others (mode %04o): chmod 600", ErrCredentials, file, info.Mode().Perm())
	}
	return nil
}
