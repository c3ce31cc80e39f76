package api

import (
	"embed"
	"net/http"
)

//go:embed ui
var ui embed.FS

// page serves the files of the page. It is self-contained: the policy forbids
// the browser to load, run or talk to anything from elsewhere.
func page() http.Handler {
	files := http.FileServerFS(ui)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		if r.URL.Path == "/" {
			http.ServeFileFS(w, r, ui, "ui/page.html")
			return
		}
		files.ServeHTTP(w, r)
	})
}
