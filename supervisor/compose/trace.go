package compose

import (
	"os"
	"path/filepath"
	"strings"
)

// maxLinks is how many links the kernel follows on one way.
const maxLinks = 40

// trace walks the way to a file as the kernel does, link by link. It adds each
// path it comes by to names, and to dirs the directories that are to be
// watched: those that a link or the file itself lies in, and the last one that
// is there where the way ends early. An event there, under one of the names,
// may lead to another file.
func trace(file string, names, dirs map[string]bool) {
	at := "/"
	rest := parts(file)
	for links := 0; len(rest) > 0; {
		next := filepath.Join(at, rest[0])
		rest = rest[1:]
		names[next] = true
		info, err := os.Lstat(next)
		if err != nil {
			dirs[at] = true
			return
		}
		if info.Mode()&os.ModeSymlink == 0 {
			// A directory on the way tells by itself when it goes; its parent
			// may be as busy as /tmp, and is watched only when it has gone.
			if len(rest) == 0 {
				dirs[at] = true
			}
			at = next
			continue
		}
		dirs[at] = true
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
