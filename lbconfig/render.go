package lbconfig

import (
	"bytes"
	"embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"
)

//go:embed templates
var templateFiles embed.FS

var templates = template.Must(template.New("").
	Funcs(template.FuncMap{"q": quote, "time": nginxTime, "in": in}).
	ParseFS(templateFiles, "templates/*.tmpl"))

// Render returns the common file and one file a site, sorted by name. The
// error is that of Config.Validate.
//
// A site's file needs nothing of any other site's, and of the common file only
// variables whose names stay as they are from version to version, so that an
// old file of a site goes on working beside new files.
func Render(c Config) ([]File, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	listen := listenAddresses(c.Listen)
	common, err := execute("common.tmpl", commonViewOf(c, listen))
	if err != nil {
		return nil, err
	}
	files := []File{{Name: CommonFile, Data: common}}
	for _, site := range sortedSites(c.Sites) {
		data, err := execute("site.tmpl", viewOf(site, listen).secured(site, c))
		if err != nil {
			return nil, err
		}
		files = append(files, File{Name: SiteFile(site.Service), Data: data, Service: site.Service})
	}
	return files, nil
}

func execute(name string, view any) ([]byte, error) {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, view); err != nil {
		return nil, fmt.Errorf("rendering %s: %w", name, err)
	}
	return b.Bytes(), nil
}

// listenAddresses expects validated addresses.
func listenAddresses(listen []string) []string {
	var all []string
	for _, l := range listen {
		if addr, err := parseListen(l); err == nil {
			all = append(all, addr)
		}
	}
	slices.Sort(all)
	return all
}

// quote makes one word of a text, whatever is in it, except that nginx has no
// way to write a "$" that is not the start of a variable.
func quote(s string) string {
	plain := s != ""
	for _, r := range s {
		plain = plain && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._*:/-[]", r))
	}
	if plain {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// nginxTime writes a duration with nginx's units; parts of a millisecond
// round up, so that nothing becomes 0, which means "at once" or "never".
func nginxTime(d time.Duration) string {
	if d%time.Second == 0 {
		return strconv.FormatInt(int64(d/time.Second), 10) + "s"
	}
	return strconv.FormatInt(int64((d+time.Millisecond-1)/time.Millisecond), 10) + "ms"
}
