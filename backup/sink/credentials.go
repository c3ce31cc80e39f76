package sink

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Credentials are those of S3. They are read from a file of the host, or from
// its environment, and never leave the process.
type Credentials struct{ AccessKey, SecretKey, SessionToken string }

// String keeps them out of logs.
func (Credentials) String() string { return "(credentials)" }

// GoString keeps them out of logs.
func (Credentials) GoString() string { return "(credentials)" }

// ReadCredentials reads a file in the form of AWS's own, ~/.aws/credentials,
// of which the section "default" counts, or lines NAME=value as in an
// environment file.
func ReadCredentials(file string) (Credentials, error) {
	var c Credentials
	info, err := os.Stat(file)
	if err != nil {
		return c, fmt.Errorf("S3 credentials: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return c, fmt.Errorf("S3 credentials: %s can be read by others (mode %04o): chmod 600", file, info.Mode().Perm())
	}
	f, err := os.Open(file)
	if err != nil {
		return c, fmt.Errorf("S3 credentials: %w", err)
	}
	defer f.Close()
	section := "default"
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "[") {
			section = strings.Trim(line, "[] ")
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(line, "#") || section != "default" {
			continue
		}
		c.set(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	if err := lines.Err(); err != nil {
		return c, fmt.Errorf("S3 credentials: read %s: %w", file, err)
	}
	return c, c.complete("in " + file)
}

// EnvironCredentials takes them from AWS_ACCESS_KEY_ID and its companions.
func EnvironCredentials(getenv func(string) string) (Credentials, error) {
	var c Credentials
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} {
		c.set(name, getenv(name))
	}
	return c, c.complete("in the daemon's environment; x-supervisor.backup.s3.credentials_file names a file")
}

func (c *Credentials) set(name, value string) {
	switch strings.ToLower(name) {
	case "aws_access_key_id":
		c.AccessKey = value
	case "aws_secret_access_key":
		c.SecretKey = value
	case "aws_session_token":
		c.SessionToken = value
	}
}

func (c Credentials) complete(where string) error {
	if c.AccessKey == "" || c.SecretKey == "" {
		return errors.New("S3 credentials: aws_access_key_id or aws_secret_access_key is missing " + where)
	}
	return nil
}
