package main

import (
	"cmp"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set with -ldflags "-X main.version=…" where a release is built.
var version string

// versionInfo is the answer of the command.
type versionInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// versionString is what the daemon says of itself.
func versionString() string { return readVersion().Version }

func readVersion() versionInfo {
	info, _ := debug.ReadBuildInfo()
	return versionOf(version, info)
}

// versionOf prefers what the build was told, then the module's version, then
// the commit.
func versionOf(told string, build *debug.BuildInfo) versionInfo {
	v := versionInfo{Version: told, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if build == nil {
		v.Version = cmp.Or(told, "devel")
		return v
	}
	for _, s := range build.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	fromModule := build.Main.Version
	if fromModule == "(devel)" {
		fromModule = ""
	}
	v.Version = cmp.Or(told, fromModule, shortCommit(v), "devel")
	return v
}

func shortCommit(v versionInfo) string {
	if v.Commit == "" {
		return ""
	}
	short := v.Commit[:min(len(v.Commit), 12)]
	if v.Modified {
		short += "-dirty"
	}
	return short
}

func newVersion(e env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Args:  want(),
		RunE: func(*cobra.Command, []string) error {
			v := readVersion()
			if asJSON {
				return printJSON(e.out, v)
			}
			e.screen().printf("supervisord %s (%s, %s)\n", v.Version, v.Go, v.Platform)
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
