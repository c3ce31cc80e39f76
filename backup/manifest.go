package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"time"
)

// Format is the version of the manifest's form that this package writes.
const Format = 1

// Manifest says what a backup is. It lies beside the archive; without one there
// is no backup.
type Manifest struct {
	Format  int    `json:"format"`
	ID      string `json:"id"`
	Cluster string `json:"cluster"`
	Service string `json:"service"`
	// File is the archive's name beside the manifest. Its ending says how it is
	// made: .sql or .rdb, .zst, and .age where it is encrypted.
	File  string    `json:"file"`
	Began time.Time `json:"began"`
	Ended time.Time `json:"ended"`
	// Size and SHA256 are of the archive, DumpSize is of the dump in it.
	Size     int64  `json:"size"`
	SHA256   string `json:"sha256"`
	DumpSize int64  `json:"dump_size"`
	// Recipients are the public keys that it is encrypted to.
	Recipients []string `json:"recipients,omitempty"`
	Content    Content  `json:"content"`
}

// Content is what a dump holds, as counted in its own stream.
type Content struct {
	// Engine is "postgres", "mysql", "mariadb" or "redis", Version what the
	// tool says of the server.
	Engine   string `json:"engine"`
	Version  string `json:"version,omitempty"`
	Database string `json:"database,omitempty"`
	// Settings are what a new database needs to be made with, as its encoding.
	Settings map[string]string `json:"settings,omitempty"`
	Tables   []Table           `json:"tables,omitempty"`
}

// Table is one table, or one numbered database of Redis.
type Table struct {
	Name string `json:"name"`
	Rows int64  `json:"rows"`
	// Expiring is how many of the rows may be gone by the time of a restore.
	Expiring int64 `json:"expiring,omitempty"`
}

// Rows is the number of rows of all tables.
func (c Content) Rows() int64 {
	var n int64
	for _, t := range c.Tables {
		n += t.Rows
	}
	return n
}

// sealed is a manifest with the checksum of its own text.
type sealed struct {
	Manifest json.RawMessage `json:"manifest"`
	SHA256   string          `json:"sha256"`
}

// ErrDamaged: what is read is not what was written.
var ErrDamaged = errors.New("the backup is damaged")

// seal gives the text of a manifest's file.
func (m Manifest) seal() ([]byte, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("write manifest: %w", err)
	}
	sum := sha256.Sum256(text)
	out, err := json.Marshal(sealed{text, hex.EncodeToString(sum[:])})
	if err != nil {
		return nil, fmt.Errorf("write manifest: %w", err)
	}
	return append(out, '\n'), nil
}

// maxManifest bounds what is read of a manifest: some hundred thousand tables.
const maxManifest = 32 << 20

// parseManifest reads what seal wrote; any other text is ErrDamaged.
func parseManifest(text []byte) (Manifest, error) {
	var s sealed
	var m Manifest
	if err := strict(text, &s); err != nil {
		return m, fmt.Errorf("%w: its manifest cannot be read: %w", ErrDamaged, err)
	}
	if sum := sha256.Sum256(s.Manifest); hex.EncodeToString(sum[:]) != s.SHA256 {
		return m, fmt.Errorf("%w: its manifest does not have its checksum", ErrDamaged)
	}
	if err := json.Unmarshal(s.Manifest, &m); err != nil {
		return m, fmt.Errorf("%w: its manifest cannot be read: %w", ErrDamaged, err)
	}
	// The text is read loosely but must be the one that is written: a change
	// that means the same is a change.
	again, err := m.seal()
	switch {
	case m.Format > Format:
		return m, fmt.Errorf("its manifest has format %d, this program knows %d: a newer supervisord wrote it", m.Format, Format)
	case err != nil || !bytes.Equal(again, text):
		return m, fmt.Errorf("%w: its manifest is not as it was written", ErrDamaged)
	}
	return m, nil
}

func strict(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// idPattern is that of ids: they are parts of names in targets.
var idPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,120}$`)

// Place is where the backups of one service of one cluster are in a target.
type Place struct {
	Cluster, Service string
}

func (p Place) dir() string { return path.Join(p.Cluster, p.Service) }

func (p Place) validate() error {
	for _, part := range []string{p.Cluster, p.Service} {
		if !idPattern.MatchString(part) {
			return fmt.Errorf("%q cannot be part of a backup's name", part)
		}
	}
	return nil
}

func (p Place) manifest(id string) string { return path.Join(p.dir(), id+manifestExt) }
func (p Place) note(id string) string     { return path.Join(p.dir(), id+noteExt) }

const (
	manifestExt = ".json"
	// A note says that an archive is on its way, and whose: until there is a
	// manifest, only what a note names is removed.
	noteExt = ".begun"
)

// Target is a store of backups. Names are paths with slashes. All calls end
// with their context.
type Target interface {
	// String is the target as the operator wrote it, without credentials.
	String() string
	// Create begins an object. Nothing has its name before Commit.
	Create(ctx context.Context, name string) (Upload, error)
	// Put writes a small object, durable and as a whole.
	Put(ctx context.Context, name string, data []byte) error
	// Open reads an object; fs.ErrNotExist where there is none.
	Open(ctx context.Context, name string) (io.ReadCloser, error)
	// Names lists the objects right below a directory, by their names in it.
	Names(ctx context.Context, dir string) ([]string, error)
	// Remove deletes an object, and what a Create of it that was cut off has
	// left. What is not there has been removed.
	Remove(ctx context.Context, name string) error
}

// Upload is an object on its way. After an error it can only be aborted.
type Upload interface {
	io.Writer
	// Commit makes the object durable and gives it its name.
	Commit(ctx context.Context) error
	// Abort leaves nothing behind. After Commit it does nothing.
	Abort(ctx context.Context) error
}

// ReadManifest reads the manifest of a backup. The error wraps fs.ErrNotExist
// where the target has no such backup, ErrDamaged where it is unreadable, and
// says so where it is somebody else's.
func ReadManifest(ctx context.Context, t Target, p Place, id string) (Manifest, error) {
	if !idPattern.MatchString(id) {
		return Manifest{}, fmt.Errorf("backup %q: %w", id, fs.ErrNotExist)
	}
	text, err := readAll(ctx, t, p.manifest(id))
	if err != nil {
		return Manifest{}, fmt.Errorf("backup %s in %s: %w", id, t, err)
	}
	m, err := parseManifest(text)
	if err != nil {
		return m, fmt.Errorf("backup %s in %s: %w", id, t, err)
	}
	if !p.owns(m, id) {
		return m, fmt.Errorf("backup %s in %s: its manifest is of %s of cluster %s", id, t, m.Service, m.Cluster)
	}
	return m, nil
}

// owns says whether a manifest or note is of this place, and names a file that
// can only be its own.
func (p Place) owns(m Manifest, id string) bool {
	return m.Cluster == p.Cluster && m.Service == p.Service && m.ID == id && len(m.File) > len(id)+1 &&
		m.File[:len(id)+1] == id+"." && path.Base(m.File) == m.File
}

func readAll(ctx context.Context, t Target, name string) (text []byte, err error) {
	r, err := t.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return io.ReadAll(io.LimitReader(r, maxManifest))
}
