// Package seal keeps the keys that secrets of the replicated state are sealed
// with, each in a file of its own that only root can read. It never sends one
// anywhere, and never puts one into an error or a log.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/google/renameio/v2"
)

// Size is that of a key, in bytes: AES-256.
const Size = 32

// MissingKeyError says that something is sealed with a key that this host does
// not have.
type MissingKeyError struct{ ID string }

func (e *MissingKeyError) Error() string {
	return fmt.Sprintf("this host does not have the cluster's key %s; it gets it from the other hosts, or it is put back into the state directory, as %s/%s", e.ID, Dir, e.ID)
}

// ErrAltered: what is opened is not what was sealed, or was sealed as something
// else.
var ErrAltered = errors.New("the sealed text was altered, or belongs elsewhere")

// Dir is where a state directory has its keys.
const Dir = "keys"

// Ring are the keys of one host. It is safe for concurrent use: each call looks
// at the files.
type Ring struct{ dir string }

// New is the ring of a state directory; it need not exist yet.
func New(stateDir string) *Ring { return &Ring{dir: filepath.Join(stateDir, Dir)} }

// Make makes a key, keeps it and returns its id.
func (r *Ring) Make() (id string, err error) {
	key := make([]byte, Size)
	// It never fails (crypto/rand).
	_, _ = rand.Read(key)
	return r.Add(key)
}

// Add keeps a key and returns its id, which is of its content.
func (r *Ring) Add(key []byte) (id string, err error) {
	if len(key) != Size {
		return "", fmt.Errorf("keep a key: it has %d bytes, want %d", len(key), Size)
	}
	sum := sha256.Sum256(append([]byte("supervisord key id\x00"), key...))
	id = hex.EncodeToString(sum[:8])
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return "", fmt.Errorf("keep a key: %w", err)
	}
	if err := renameio.WriteFile(filepath.Join(r.dir, id), key, 0o600); err != nil {
		return "", fmt.Errorf("keep a key: %w", err)
	}
	return id, nil
}

var idForm = regexp.MustCompile(`^[0-9a-f]{16}$`)

// Key returns a key, to be handed to another host of the cluster.
func (r *Ring) Key(id string) ([]byte, error) {
	if !idForm.MatchString(id) {
		return nil, fmt.Errorf("read a key: %q is no id of a key", id)
	}
	key, err := os.ReadFile(filepath.Join(r.dir, id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &MissingKeyError{id}
	}
	if err != nil {
		return nil, fmt.Errorf("read a key: %w", err)
	}
	if len(key) != Size {
		return nil, fmt.Errorf("read a key: %s has %d bytes, want %d", id, len(key), Size)
	}
	return key, nil
}

// Has says whether a key is here.
func (r *Ring) Has(id string) bool {
	_, err := r.Key(id)
	return err == nil
}

// Seal seals a text with a key, as what it is: it opens as nothing else. The
// cipher is AES-256-GCM with a random nonce (NIST SP 800-38D), good for 2^32
// texts.
func (r *Ring) Seal(id string, plain []byte, as string) ([]byte, error) {
	aead, err := r.cipher(id)
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", as, err)
	}
	return aead.Seal(nil, nil, plain, []byte(as)), nil
}

// Open returns what was sealed as something. Its errors wrap a
// *MissingKeyError or ErrAltered.
func (r *Ring) Open(id string, sealed []byte, as string) ([]byte, error) {
	aead, err := r.cipher(id)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", as, err)
	}
	plain, err := aead.Open(nil, nil, sealed, []byte(as))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", as, ErrAltered)
	}
	return plain, nil
}

func (r *Ring) cipher(id string) (cipher.AEAD, error) {
	key, err := r.Key(id)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
