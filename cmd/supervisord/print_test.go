package main

import (
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTableAligns(t *testing.T) {
	var b strings.Builder
	screen{w: &b}.table([][]cell{
		cells("NAME", "SHARE", "NOTE"),
		{{"größe", good}, {"56 %", bad}, {text: "long"}},
		cells("x", "7 %", ""),
		cells("y", "", ""),
	})
	want := "NAME   SHARE  NOTE\ngröße  56 %   long\nx      7 %\ny\n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestATerminalGetsColourAndItsWidth(t *testing.T) {
	var b strings.Builder
	screen{w: &b, colour: true, width: 16}.table([][]cell{
		{{"ready", good}, {text: "a sentence that is too long"}},
		{{"", good}, {text: "short"}},
	})
	want := "\x1b[32mready\x1b[0m  a senten…\n       short\n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second:               "0s",
		59 * time.Second:           "59s",
		61 * time.Second:           "1m1s",
		25*time.Hour + time.Minute: "1d1h",
		time.Hour + 2*time.Minute:  "1h2m",
	} {
		if got := age(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}

func TestVersionIsTheMostTellingThatTheBuildKnows(t *testing.T) {
	built := func(version, commit, modified string) *debug.BuildInfo {
		b := &debug.BuildInfo{Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: commit}, {Key: "vcs.modified", Value: modified}}}
		b.Main.Version = version
		return b
	}
	for _, c := range []struct {
		name, told string
		build      *debug.BuildInfo
		want       string
	}{
		{"told by the linker", "1.2.3", built("v1.0.0", "abc", "false"), "1.2.3"},
		{"of the module", "", built("v1.0.0", "abc", "false"), "v1.0.0"},
		{"of the commit", "", built("(devel)", "0123456789abcdef", "false"), "0123456789ab"},
		{"of a changed tree", "", built("(devel)", "0123456789abcdef", "true"), "0123456789ab-dirty"},
		{"none", "", built("(devel)", "", ""), "devel"},
		{"no information at all", "", nil, "devel"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := versionOf(c.told, c.build).Version; got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}
