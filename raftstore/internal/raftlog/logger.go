// Package raftlog lets the Raft libraries log to slog.
package raftlog

import (
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// New gives the library a logger whose lines end in ours. What it calls
// information is for those who debug it; that a candidate finds no vote yet,
// a warning to it, is everyday life.
func New(to *slog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Output: io.Discard, Level: hclog.Debug})
	l.RegisterSink(&sink{to: to, told: map[string]time.Time{}})
	return l
}

// again is the pause between lines that say the same: the libraries repeat
// themselves several times a second for as long as a server is down.
const again = 30 * time.Second

// maxKnown bounds the lines that are remembered.
const maxKnown = 1000

type sink struct {
	to *slog.Logger

	mu   sync.Mutex
	told map[string]time.Time
}

// Accept implements hclog.SinkAdapter.
func (s *sink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	switch {
	case level < hclog.Warn:
		s.to.Debug(msg, args...)
	case s.repeats(msg, args):
	case level == hclog.Error:
		s.to.Warn(msg, args...)
	default:
		s.to.Info(msg, args...)
	}
}

// repeats says whether a line about the same server was told a short while
// ago.
func (s *sink) repeats(msg string, args []any) bool {
	key := msg
	for n := 0; n+1 < len(args); n += 2 {
		switch args[n] {
		case "peer", "target", "server-id":
			key += fmt.Sprint(" ", args[n+1])
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if at, ok := s.told[key]; ok && now.Sub(at) < again {
		return true
	}
	if len(s.told) >= maxKnown {
		clear(s.told)
	}
	s.told[key] = now
	return false
}
