package compose

import (
	"os"
	"path/filepath"
	"strings"
)

// maxLinks is how many links the kernel follows on one way.
const maxLinks = 40

// trace walks the way to a file as the kernel does, link by link. It adds each
// path it comes by to names, and the directory that each of them lies in to
// dirs: an event there, under that name, may lead to another file. A way that
// ends early is traced up to what is missing.
func trace(file string, names, dirs map[string]bool) {
	at := "/"
	rest := parts(file)
	for links := 0; len(rest) > 0; {
		dirs[at] = true
		next := filepath.Join(at, rest[0])
		rest = rest[1:]
		names[next] = true
		info, err := os.Lstat(next)
		if err != nil {
			return
		}
		if info.Mode()&os.ModeSymlink == 0 {
			at = next
			continue
		}
		target, err := os.Readlink(next)
		if links++; err != nil || links > maxLinks {
			return
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = append(parts(target), rest...)
	}
}

// parts are the names in a path, with ".." kept: after a link it does not lead
// back to where the link lies.
func parts(p string) []string {
	var out []string
	for part := range strings.SplitSeq(p, "/") {
		if part != "" && part != "." {
			out = append(out, part)
		}
	}
	return out
}
