package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"time"
)

// serve starts the probers and answers the story's questions: /counts, /reset, /identity, /ask?path= of the metadata
// service with a session of IMDSv2, /reach?address= of anybody else.
func serve() {
	tally := &Tally{}
	go probe(tally, false)
	go probe(tally, true)
	http.HandleFunc("/counts", func(w http.ResponseWriter, _ *http.Request) { write(w, tally.Snapshot(false)) })
	http.HandleFunc("/reset", func(w http.ResponseWriter, _ *http.Request) { write(w, tally.Snapshot(true)) })
	http.HandleFunc("/identity", func(w http.ResponseWriter, _ *http.Request) { write(w, whoAmI()) })
	http.HandleFunc("/reach", func(w http.ResponseWriter, r *http.Request) { write(w, reach(r.URL.Query().Get("address"))) })
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

// reach asks an address for what the metadata service would be asked for.
func reach(address string) Answer {
	client := client(false)
	client.Timeout = 2 * time.Second
	return try(client, http.MethodGet, "http://"+address, credentials, "")
}

func write(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	// A reader that went away has its reasons.
	_ = json.NewEncoder(w).Encode(value)
}
