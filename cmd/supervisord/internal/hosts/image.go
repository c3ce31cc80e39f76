package hosts

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// recipe is what a host's image is made of; its hash is the image's tag, so
// that one that is there already is used again.
const (
	suite    = "bookworm"
	packages = "systemd-sysv,dbus,docker.io,nginx-light,iproute2,iptables,ca-certificates,procps,curl"
	version  = "1"
)

// image returns the name of a host's image, and builds it where it is not
// there: some 90 seconds.
func image(ctx context.Context) (name string, err error) {
	sum := sha256.Sum256([]byte(suite + packages + version))
	name = "supervisord-test-host:" + hex.EncodeToString(sum[:6])
	if _, err := run(ctx, nil, "docker", "image", "inspect", name); err == nil {
		return name, nil
	}
	mirror, err := mirror()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "supervisord-host-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	root := filepath.Join(dir, "root")
	if _, err := run(ctx, nil, "debootstrap", "--variant=minbase", "--include="+packages, suite, root, mirror); err != nil {
		return "", err
	}
	tar := exec.CommandContext(ctx, "tar", "-C", root, "-c", ".")
	out, err := tar.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := tar.Start(); err != nil {
		return "", err
	}
	_, err = run(ctx, out, "docker", "import", "-", name)
	return name, errors.Join(err, tar.Wait())
}

var errNoMirror = errors.New("this machine has no source of Debian packages in /etc/apt")

// mirror is where this machine has its own Debian packages from.
func mirror() (string, error) {
	files, err := filepath.Glob("/etc/apt/sources.list.d/*")
	if err != nil {
		return "", err
	}
	for _, file := range append(files, "/etc/apt/sources.list") {
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		// Either form: "URIs: http://… " or "deb [options] http://… suite".
		for line := range strings.Lines(string(data)) {
			words := strings.Fields(line)
			if len(words) < 2 || words[0] != "URIs:" && words[0] != "deb" {
				continue
			}
			for _, w := range words[1:] {
				if strings.Contains(w, "://") && strings.HasSuffix(strings.TrimRight(w, "/"), "/debian") {
					return w, nil
				}
			}
		}
	}
	return "", errNoMirror
}
