package accesslog

import (
	"bytes"
	"iter"
	"math"
	"strconv"
	"time"
)

// Attempt is one request to one instance. A client's request may be several:
// nginx tries another instance when one does not answer.
type Attempt struct {
	// Address is the instance's "IP:port".
	Address string
	// Status is what it answered; 502 or 504 where it did not.
	Status int
	// Took is the time from the connection to the last byte of the answer.
	Took time.Duration
}

// Error says whether the attempt went wrong on the side of the instance.
func (a Attempt) Error() bool { return a.Status >= 500 }

// The keys of lbconfig's log format. Values are escaped, so that a quotation
// mark inside of one cannot be mistaken for its end.
var (
	keyUpstream = []byte(`,"upstream":"`)
	keyStatus   = []byte(`,"upstream_status":"`)
	keyTook     = []byte(`,"upstream_response_time":"`)
)

// Parse walks the attempts that one line tells of, in their order: none where
// nginx answered by itself, or where the line is of another form.
func Parse(line []byte) iter.Seq[Attempt] {
	return func(yield func(Attempt) bool) {
		address, rest, ok := value(line, keyUpstream)
		if !ok || len(address) == 0 {
			return
		}
		status, rest, ok := value(rest, keyStatus)
		if !ok {
			return
		}
		took, _, ok := value(rest, keyTook)
		if !ok {
			return
		}
		for len(address) > 0 {
			var at, code, seconds []byte
			at, address = next(address)
			code, status = next(status)
			seconds, took = next(took)
			a, ok := attempt(at, code, seconds)
			if ok && !yield(a) {
				return
			}
		}
	}
}

// value is what stands behind a key, up to the next quotation mark, and what
// follows it.
func value(line, key []byte) (text, rest []byte, ok bool) {
	begin := bytes.Index(line, key)
	if begin < 0 {
		return nil, nil, false
	}
	line = line[begin+len(key):]
	end := bytes.IndexByte(line, '"')
	if end < 0 {
		return nil, nil, false
	}
	return line[:end], line[end:], true
}

// next takes the first of several entries: nginx parts attempts by ", ", and by
// " : " where it went to another location in between.
func next(list []byte) (first, rest []byte) {
	for n := range list {
		switch {
		case bytes.HasPrefix(list[n:], []byte(", ")):
			return list[:n], list[n+2:]
		case bytes.HasPrefix(list[n:], []byte(" : ")):
			return list[:n], list[n+3:]
		}
	}
	return list, nil
}

// attempt reads one entry of each list. What was given up before it had an
// answer has "-" for a status; a client that went away is no fault of an
// instance.
func attempt(at, code, seconds []byte) (Attempt, bool) {
	status, err := strconv.Atoi(string(code))
	if err != nil {
		return Attempt{}, false
	}
	a := Attempt{Address: string(at), Status: status}
	if s, err := strconv.ParseFloat(string(seconds), 64); err == nil && s >= 0 && !math.IsInf(s, 0) {
		a.Took = time.Duration(s * float64(time.Second))
	}
	return a, true
}
