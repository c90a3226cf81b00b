package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
)

// serve starts the probers and answers the story's questions: /counts, /reset, /identity, and /ask?path=, which uses a
// session of IMDSv2.
func serve() {
	tally := &Tally{}
	if os.Getenv("PROBE") != "off" {
		go probe(tally, false)
		go probe(tally, true)
	}
	http.HandleFunc("/counts", func(w http.ResponseWriter, _ *http.Request) { write(w, tally.Snapshot(false)) })
	http.HandleFunc("/reset", func(w http.ResponseWriter, _ *http.Request) { write(w, tally.Snapshot(true)) })
	http.HandleFunc("/identity", func(w http.ResponseWriter, _ *http.Request) { write(w, whoAmI()) })
	http.HandleFunc("/ask", func(w http.ResponseWriter, r *http.Request) {
		client := client(false)
		token := ask(client, http.MethodPut, "/latest/api/token", "")
		if token.Status != http.StatusOK {
			write(w, token)
			return
		}
		write(w, ask(client, http.MethodGet, r.URL.Query().Get("path"), token.Body))
	})
	fmt.Fprintln(os.Stderr, http.ListenAndServe(":8080", nil))
	os.Exit(1)
}

func write(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	// A reader that went away has its reasons.
	_ = json.NewEncoder(w).Encode(value)
}
