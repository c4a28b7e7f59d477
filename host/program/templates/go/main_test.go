package main

import (
	"net/http/httptest"
	"testing"
)

// `make test` runs these on your machine, without wasm and without a host.
func TestAnswers(t *testing.T) {
	for _, test := range []struct {
		method, target string
		status         int
		body           string
	}{
		{"GET", "/", 200, "hello, you\n"},
		{"GET", "/?name=J%C3%B6rg", 200, "hello, Jörg\n"},
		{"GET", "/other", 404, "404 page not found\n"},
	} {
		reply := httptest.NewRecorder()
		worker().ServeHTTP(reply, httptest.NewRequest(test.method, test.target, nil))
		if reply.Code != test.status || reply.Body.String() != test.body {
			t.Errorf("%s %s: %d %q", test.method, test.target, reply.Code, reply.Body)
		}
	}
}
