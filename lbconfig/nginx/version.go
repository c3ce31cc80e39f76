package nginx

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// version of nginx; the zero version is one that is not known.
type version struct{ major, minor, patch int }

var versionForm = regexp.MustCompile(`nginx/(\d{1,4})\.(\d{1,4})\.(\d{1,4})`)

// parseVersion reads what nginx -v prints.
func parseVersion(text string) (version, error) {
	m := versionForm.FindStringSubmatch(text)
	if m == nil {
		return version{}, fmt.Errorf("%.100q says no version of nginx", text)
	}
	var v version
	for n, to := range []*int{&v.major, &v.minor, &v.patch} {
		i, err := strconv.Atoi(m[n+1])
		if err != nil {
			return version{}, fmt.Errorf("version of nginx: %w", err)
		}
		*to = i
	}
	return v, nil
}

// atLeast says whether it is a version or a later one.
func (v version) atLeast(major, minor, patch int) bool {
	for _, part := range [][2]int{{v.major, major}, {v.minor, minor}, {v.patch, patch}} {
		if part[0] != part[1] {
			return part[0] > part[1]
		}
	}
	return true
}

// keepIdle is how long idle connections outlive a reload where nginx can do
// that (keepalive_min_timeout came with 1.27.4). Old workers go on for as long,
// and may pass a request to an instance that has left, so it is short.
const keepIdle = time.Second

// learn finds out which nginx runs, where that is not known. What cannot be
// learned is left out of the configuration.
func (a *Applier) learn(ctx context.Context) {
	if a.version != (version{}) {
		return
	}
	text, err := a.process.Version(ctx)
	if err == nil {
		a.version, err = parseVersion(text)
	}
	if err != nil {
		a.log.Debug("nginx's version is not known; it is taken for an old one", "err", err)
	}
}

// keepsIdle is Config.KeepIdle for the nginx that runs.
func (a *Applier) keepsIdle() time.Duration {
	if a.version.atLeast(1, 27, 4) {
		return keepIdle
	}
	return 0
}
