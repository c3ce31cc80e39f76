package raftstore

import (
	"io"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// newLogger gives the library a logger whose lines end in ours. What it calls
// information is for those who debug it; that a candidate finds no vote yet,
// a warning to it, is everyday life.
func newLogger(to *slog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Output: io.Discard, Level: hclog.Debug})
	l.RegisterSink(sink{to})
	return l
}

type sink struct{ to *slog.Logger }

// Accept implements hclog.SinkAdapter.
func (s sink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	switch level {
	case hclog.Error:
		s.to.Error(msg, args...)
	case hclog.Warn:
		s.to.Info(msg, args...)
	default:
		s.to.Debug(msg, args...)
	}
}
