// Package sink has the stores that backups are kept in: a directory of the
// host, and a bucket of S3 or what speaks its protocol. An object is there as a
// whole or not at all. It knows nothing of what the objects hold, and removes
// none but those that it is told to by their names.
package sink

import "github.com/supervisord/supervisord/backup"

var (
	_ backup.Target = (*Dir)(nil)
	_ backup.Target = (*S3)(nil)
)
