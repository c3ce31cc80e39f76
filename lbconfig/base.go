package lbconfig

import (
	"bytes"
	"strings"
	"time"
)

// BaseOptions are what differs from one nginx to another in its main file.
// They are the installer's own values, not a user's: a path must not contain
// "$".
type BaseOptions struct {
	// User runs the workers; "" leaves it out, for an nginx without root.
	User string
	// WorkerProcesses is a number or "auto".
	WorkerProcesses string
	// PIDFile and ErrorLog are paths.
	PIDFile, ErrorLog string
	// AccessLog is a path; "" writes none.
	AccessLog string
	// MimeTypes is the path of nginx's mime.types.
	MimeTypes string
	// Root is where generations are put; the main file includes
	// Root/current/*.conf.
	Root string
	// CacheDir keeps static answers.
	CacheDir string
	// TempDir is for bodies on their way; "" means the paths that nginx was
	// built with.
	TempDir string
	// ShutdownTimeout is how long workers of an old generation may go on with
	// the requests that they have; in whole seconds.
	ShutdownTimeout time.Duration
}

// DefaultBase is for Debian's nginx as a service of the host.
func DefaultBase() BaseOptions {
	return BaseOptions{
		User:            "www-data",
		WorkerProcesses: "auto",
		PIDFile:         "/run/nginx.pid",
		ErrorLog:        "/var/log/nginx/error.log",
		AccessLog:       "/var/log/nginx/access.log",
		MimeTypes:       "/etc/nginx/mime.types",
		Root:            "/etc/nginx/supervisord.d",
		CacheDir:        "/var/lib/nginx/supervisord",
		// Longer than the 30 s that an instance may drain, and no shorter than
		// the 60 s for which a request may wait at an instance: a reload cuts
		// off nothing that the timeouts allow. Not longer, because each reload
		// leaves a set of workers behind while a WebSocket is open.
		ShutdownTimeout: 60 * time.Second,
	}
}

// Base returns nginx's main file. It is installed once; what changes is in the
// files that it includes.
func Base(o BaseOptions) []byte {
	var b bytes.Buffer
	if o.WorkerProcesses == "" {
		o.WorkerProcesses = "auto"
	}
	o.Root = strings.TrimRight(o.Root, "/")
	// A template over a struct of strings, tested with each of its branches,
	// has no way to fail, and bytes.Buffer has none.
	if err := templates.ExecuteTemplate(&b, "base.tmpl", o); err != nil {
		panic(err)
	}
	return b.Bytes()
}
