// The table of behaviour, for CGI.
package main

import (
	"io"
	"log"
	"net/http"
	"net/http/cgi"
	"os"
	"strconv"
	"strings"
)

var kept [][]byte

func main() {
	if err := cgi.Serve(http.HandlerFunc(answer)); err != nil {
		log.Fatal(err)
	}
}

func answer(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	target := os.Getenv("REQUEST_URI")
	path, query, _ := strings.Cut(target, "?")
	switch {
	case path == "/table/echo":
		io.Copy(w, r.Body)
	case path == "/table/method":
		io.WriteString(w, r.Method)
	case path == "/table/fields":
		w.Header().Add("Set-Cookie", "a=1")
		w.Header().Add("Set-Cookie", "b=2")
		io.WriteString(w, r.Header.Get("X-Test"))
	case strings.HasPrefix(path, "/table/target/"):
		io.WriteString(w, target)
	case path == "/table/status":
		status, _ := strconv.Atoi(query)
		w.WriteHeader(status)
	case path == "/table/crash":
		panic("as asked")
	case path == "/table/spin":
		for {
		}
	case path == "/table/memory":
		for {
			kept = append(kept, make([]byte, 1<<20))
		}
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}
