package certs

import (
	"log/slog"

	"go.uber.org/zap/zapcore"
)

// toSlog hands certmagic's log on, a level lower: what matters of it is an
// error that a caller gets.
type toSlog struct{ log *slog.Logger }

var _ zapcore.Core = toSlog{}

// Enabled implements zapcore.Core: slog decides.
func (toSlog) Enabled(zapcore.Level) bool { return true }

// With implements zapcore.Core.
func (c toSlog) With(fields []zapcore.Field) zapcore.Core {
	return toSlog{c.log.With(attrs(fields)...)}
}

// Check implements zapcore.Core.
func (c toSlog) Check(e zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return to.AddCore(e, c)
}

// Write implements zapcore.Core.
func (c toSlog) Write(e zapcore.Entry, fields []zapcore.Field) error {
	if e.Level >= zapcore.WarnLevel {
		c.log.Info(e.Message, attrs(fields)...)
	} else {
		c.log.Debug(e.Message, attrs(fields)...)
	}
	return nil
}

// Sync implements zapcore.Core.
func (toSlog) Sync() error { return nil }

// attrs are the fields whose names are known to hold no secret; most of all not
// the storage, which holds all.
func attrs(fields []zapcore.Field) []any {
	known := map[string]bool{"identifier": true, "identifiers": true, "issuer": true, "ca": true, "error": true, "problem": true, "challenge_type": true, "remaining": true, "url": true, "status_code": true}
	enc := zapcore.NewMapObjectEncoder()
	var out []any
	for _, f := range fields {
		if known[f.Key] {
			f.AddTo(enc)
			out = append(out, f.Key, enc.Fields[f.Key])
		}
	}
	return out
}
