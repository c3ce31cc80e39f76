package pki_test

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/supervisord/supervisord/raftstore/pki"
)

func token(t *testing.T) pki.Token {
	t.Helper()
	print, err := pki.Fingerprint(authority(t).Cert)
	if err != nil {
		t.Fatal(err)
	}
	return pki.NewToken(print)
}

func TestATokenIsReadAsItWasWritten(t *testing.T) {
	tok := token(t)
	for _, text := range []string{tok.String(), " " + tok.String() + "\n"} {
		if got, err := pki.ParseToken(text); err != nil || got != tok {
			t.Errorf("got %+v, %v", got, err)
		}
	}
	if plain := regexp.MustCompile(`^SVD1-[a-z0-9]{8}-[a-z0-9]{26}-[a-f0-9]{64}$`); !plain.MatchString(tok.String()) {
		t.Errorf("%s has characters that a shell may read", tok)
	}
	if again := token(t); again.ID == tok.ID || again.Secret == tok.Secret {
		t.Error("two tokens share their id or secret")
	}
}

func TestATokenThatIsDamagedIsRefusedWithoutTellingIt(t *testing.T) {
	tok := token(t)
	for name, text := range map[string]string{
		"empty":                "",
		"another version":      strings.Replace(tok.String(), "SVD1", "SVD9", 1),
		"a part is missing":    strings.Join([]string{"SVD1", tok.ID, tok.Secret}, "-"),
		"a part too many":      tok.String() + "-x",
		"cut off":              tok.String()[:len(tok.String())-1],
		"no id":                strings.Join([]string{"SVD1", "", tok.Secret, tok.Fingerprint}, "-"),
		"a short secret":       strings.Join([]string{"SVD1", tok.ID, "abc", tok.Fingerprint}, "-"),
		"a fingerprint of not": strings.Join([]string{"SVD1", tok.ID, tok.Secret, strings.Repeat("x", 64)}, "-"),
	} {
		got, err := pki.ParseToken(text)
		if err == nil || got != (pki.Token{}) {
			t.Errorf("%s: taken as %+v", name, got)
			continue
		}
		if strings.Contains(err.Error(), tok.Secret) {
			t.Errorf("%s: the secret is in the error: %v", name, err)
		}
	}
}

func TestNoTextMakesTheParserPanicOrTell(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		if tok, err := pki.ParseToken(text); err == nil && tok.String() != strings.TrimSpace(text) {
			t.Errorf("%q was read as %q", text, tok.String())
		} else if err != nil && len(text) > 16 && strings.Contains(err.Error(), text) {
			t.Errorf("the error tells the text: %v", err)
		}
	})
}

func TestOnlyTheSecretMatchesItsHash(t *testing.T) {
	tok := token(t)
	hash := tok.Hash()
	if strings.Contains(hash, tok.Secret) || len(hash) != 64 {
		t.Errorf("hash %q", hash)
	}
	other := tok
	other.Secret = token(t).Secret
	for _, c := range []struct {
		hash  string
		token pki.Token
		want  bool
	}{
		{hash, tok, true},
		{hash, other, false},
		{"", tok, false},
		{strings.ToUpper(hash), tok, false},
		{hash[:63], tok, false},
	} {
		if got := pki.HashMatches(c.hash, c.token); got != c.want {
			t.Errorf("%q: %v, want %v", c.hash, got, c.want)
		}
	}
}
