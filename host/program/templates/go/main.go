// A worker: a CGI program. The host starts it for each request, and it answers one.
package main

import (
	"cmp"
	"fmt"
	"log"
	"net/http"
	"net/http/cgi"
)

func main() {
	if err := cgi.Serve(worker()); err != nil {
		log.Fatal(err) // the host's log has it
	}
}

// worker answers requests; main gives it the one that the environment describes.
func worker() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintf(w, "hello, %s\n", cmp.Or(r.FormValue("name"), "you"))
	})
	return mux
}
