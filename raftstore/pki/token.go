package pki

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"strings"
)

// Token is what a new server comes with. The fingerprint tells it whom to
// trust, the secret tells the cluster to trust it.
type Token struct{ ID, Secret, Fingerprint string }

// tokenVersion begins every token's text.
const tokenVersion = "SVD1"

// NewToken makes a token for the cluster whose authority has a fingerprint.
func NewToken(fingerprint string) Token {
	return Token{ID: strings.ToLower(rand.Text())[:8], Secret: strings.ToLower(rand.Text()), Fingerprint: fingerprint}
}

// String is the token whole, its secret included.
func (t Token) String() string {
	return strings.Join([]string{tokenVersion, t.ID, t.Secret, t.Fingerprint}, "-")
}

var errToken = errors.New("this is no token: want SVD1-ID-SECRET-FINGERPRINT, as init and token create print it, whole and on one line")

// ParseToken reads what String wrote. Its errors never show the text.
func ParseToken(text string) (Token, error) {
	parts := strings.Split(strings.TrimSpace(text), "-")
	if len(parts) != 4 || parts[0] != tokenVersion || parts[1] == "" || len(parts[2]) < 16 {
		return Token{}, errToken
	}
	if sum, err := hex.DecodeString(parts[3]); err != nil || len(sum) != sha256.Size {
		return Token{}, errToken
	}
	return Token{ID: parts[1], Secret: parts[2], Fingerprint: parts[3]}, nil
}

// Hash is what the cluster keeps of a token: the SHA-256 of its secret in hex.
// The secret has 128 random bits, so that no slower hash is needed.
func (t Token) Hash() string {
	sum := sha256.Sum256([]byte(t.Secret))
	return hex.EncodeToString(sum[:])
}

// HashMatches says whether a hash is that of a token's secret, in a time that
// does not tell how nearly.
func HashMatches(hash string, t Token) bool {
	return subtle.ConstantTimeCompare([]byte(hash), []byte(t.Hash())) == 1
}

type block struct {
	kind string
	text []byte
}

// nextBlock takes the first PEM block off a text; nil where there is none.
func nextBlock(text []byte) (*block, []byte) {
	b, rest := pem.Decode(text)
	if b == nil {
		return nil, nil
	}
	return &block{b.Type, pem.EncodeToMemory(b)}, rest
}
