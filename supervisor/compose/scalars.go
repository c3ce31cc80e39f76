package compose

import (
	"fmt"
	"math"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/go-units"
)

// anything takes all; its content is docker compose's business.
func anything(*report, place, *value) {}

// str is a string that is not empty.
func str(r *report, p place, v *value) {
	if !anyStr(r, p, v) {
		return
	}
	if v.text == "" {
		r.at(p, v, v.written()+" is empty", "a text")
	}
}

// anyStr is a string, empty or not.
func anyStr(r *report, p place, v *value) bool {
	if !is(r, p, v, scalarKind) {
		return false
	}
	if v.tag != "!!str" && v.tag != "!!timestamp" {
		r.at(p, v, v.raw+" is not a string", "quotes around it")
		return false
	}
	if strings.ContainsRune(v.text, 0) {
		r.at(p, v, "contains a zero byte", "a text")
		return false
	}
	return true
}

func text(r *report, p place, v *value) { anyStr(r, p, v) }

// scalarText takes strings, numbers and booleans as text.
func scalarText(r *report, p place, v *value) { is(r, p, v, scalarKind) }

func boolean(r *report, p place, v *value) { readBool(r, p, v) }

func readBool(r *report, p place, v *value) bool {
	if v.kind != scalarKind || (v.text != "true" && v.text != "false") {
		r.wrongKind(p, v, "true or false")
		return false
	}
	return v.text == "true"
}

func integer(least, most int64) shape {
	return func(r *report, p place, v *value) { readInt(r, p, v, least, most) }
}

// readInt gives 0 for what it reports.
func readInt(r *report, p place, v *value, least, most int64) int64 {
	want := fmt.Sprintf("a whole number from %d to %d", least, most)
	if most == math.MaxInt64 {
		want = fmt.Sprintf("a whole number of at least %d", least)
	}
	if !isScalar(r, p, v, want) {
		return 0
	}
	n, err := strconv.ParseInt(v.text, 10, 64)
	if err != nil || n < least || n > most {
		r.at(p, v, v.written(), want)
		return 0
	}
	return n
}

func isScalar(r *report, p place, v *value, want string) bool {
	if v.kind != scalarKind {
		r.wrongKind(p, v, want)
		return false
	}
	return true
}

// wantDuration is what a duration looks like.
const wantDuration = "a duration such as 500ms, 30s or 1m30s"

func duration(r *report, p place, v *value) {
	if !isScalar(r, p, v, wantDuration) {
		return
	}
	var d types.Duration
	if err := d.DecodeMapstructure(v.text); err != nil || d < 0 || v.text == "" || v.tag == "!!int" {
		r.at(p, v, v.written(), wantDuration)
	}
}

// readDuration reads a duration of our own keys, in Go's form.
func readDuration(r *report, p place, v *value) time.Duration {
	if !isScalar(r, p, v, wantDuration) {
		return 0
	}
	d, err := time.ParseDuration(v.text)
	if err != nil || d < 0 {
		r.at(p, v, v.written(), wantDuration)
		return 0
	}
	return d
}

// size is an amount of memory of at least so many bytes.
func size(least int64) shape {
	return func(r *report, p place, v *value) {
		const want = "a size such as 512M or 2G"
		if !isScalar(r, p, v, want) {
			return
		}
		n, err := units.RAMInBytes(v.text)
		switch {
		case err != nil || v.tag != "!!str":
			r.at(p, v, v.written(), want)
		case n < least:
			r.at(p, v, v.written(), "at least "+units.BytesSize(float64(least)))
		}
	}
}

// readSize gives 0 for what it reports.
func readSize(r *report, p place, v *value) int64 {
	const want = "a size such as 10m"
	if !isScalar(r, p, v, want) {
		return 0
	}
	n, err := units.RAMInBytes(v.text)
	if err != nil || n <= 0 {
		r.at(p, v, v.written(), want)
		return 0
	}
	return n
}

func cores(r *report, p place, v *value) {
	const want = `a number of cores such as "0.5" or "2.0"`
	if !isScalar(r, p, v, want) {
		return
	}
	f, err := strconv.ParseFloat(v.text, 64)
	if err != nil || !(f >= 0.01 && f <= 4096) {
		r.at(p, v, v.written(), want)
	}
}

var percentPattern = regexp.MustCompile(`^[0-9]{1,3}(\.[0-9]{1,4})?%$`)

// readPercent gives 0.7 for 70%.
func readPercent(r *report, p place, v *value) float64 {
	const want = "a percentage such as 70%"
	if !isScalar(r, p, v, want) {
		return 0
	}
	f, err := strconv.ParseFloat(strings.TrimSuffix(v.text, "%"), 64)
	if !percentPattern.MatchString(v.text) || err != nil || f <= 0 {
		r.at(p, v, v.written(), want)
		return 0
	}
	return f / 100
}

// oneOf takes some words only.
func oneOf(words ...string) shape {
	return func(r *report, p place, v *value) {
		want := strings.Join(words, " or ")
		if !isScalar(r, p, v, want) {
			return
		}
		for _, w := range words {
			if v.text == w {
				return
			}
		}
		r.at(p, v, v.written(), want)
	}
}

func address(r *report, p place, v *value) {
	if !isScalar(r, p, v, "an IP address") {
		return
	}
	if net.ParseIP(v.text) == nil {
		r.at(p, v, v.written(), "an IP address")
	}
}

// target is an absolute path inside of the container.
func target(r *report, p place, v *value) {
	if !isScalar(r, p, v, "an absolute path") {
		return
	}
	if !strings.HasPrefix(v.text, "/") {
		r.at(p, v, v.written(), "an absolute path")
	}
}

// file is a path on the host.
func file(r *report, p place, v *value) {
	str(r, p, v)
	noHome(r, p, v, v.text)
}

// noHome refuses a path of a home directory.
func noHome(r *report, p place, v *value, name string) {
	if strings.HasPrefix(name, "~") {
		r.at(p, v, v.written()+": a daemon has no home directory", "an absolute path, or one relative to this file")
	}
}
