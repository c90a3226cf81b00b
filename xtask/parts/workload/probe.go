package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	imds        = "http://169.254.169.254"
	credentials = "/latest/meta-data/iam/security-credentials/"
	// How long a request may take: longer than the agent makes anybody wait.
	patience = 3 * time.Second
	// Between two requests of one prober.
	pace = 40 * time.Millisecond
)

// Answer is one answer of the metadata service, or why there is none.
type Answer struct {
	Status int    `json:"status"`
	Body   string `json:"body"`
	Error  string `json:"error,omitempty"`
	Millis int64  `json:"millis"`
}

// Counts is what the probers have seen since the last reset.
type Counts struct {
	Asked  int            `json:"asked"`
	Right  int            `json:"right"`
	Leaks  int            `json:"leaks"`
	Others map[string]int `json:"others"`
	// The first answer that was not right, and the first leak.
	FirstOther string `json:"first_other,omitempty"`
	FirstLeak  string `json:"first_leak,omitempty"`
	// The longest that a right answer took.
	SlowestMillis int64 `json:"slowest_millis"`
	// From the start of the process to the end of the first right answer.
	FirstMillis int64 `json:"first_millis"`
}

var born = time.Now()

// Tally is Counts with a lock.
type Tally struct {
	sync.Mutex
	counts Counts
}

// Snapshot returns the counts, and begins anew if asked to.
func (t *Tally) Snapshot(reset bool) Counts {
	t.Lock()
	defer t.Unlock()
	counts := t.counts
	counts.Others = make(map[string]int)
	for what, times := range t.counts.Others {
		counts.Others[what] = times
	}
	if reset {
		t.counts = Counts{}
	}
	return counts
}

// Add counts one answer.
func (t *Tally) Add(path string, answer Answer, right bool) {
	t.Lock()
	defer t.Unlock()
	c := &t.counts
	c.Asked++
	if leaked(path, answer) {
		c.Leaks++
		if c.FirstLeak == "" {
			c.FirstLeak = fmt.Sprintf("%s %s: %d %.200s", time.Now().Format(time.RFC3339Nano), path, answer.Status, answer.Body)
			fmt.Println("LEAK", c.FirstLeak)
		}
		return
	}
	if right {
		if c.Right++; c.Right == 1 {
			c.FirstMillis = time.Since(born).Milliseconds()
		}
		c.SlowestMillis = max(c.SlowestMillis, answer.Millis)
		return
	}
	what := answer.Error
	if what == "" {
		what = fmt.Sprint(answer.Status)
	}
	if c.Others == nil {
		c.Others = make(map[string]int)
	}
	if c.Others[what]++; c.Others[what] == 1 {
		line := fmt.Sprintf("%s %s: %s %.200s", time.Now().Format(time.RFC3339Nano), path, what, answer.Body)
		fmt.Println("OTHER", line)
		if c.FirstOther == "" {
			c.FirstOther = line
		}
	}
}

// leaked says whether an answer holds what is the node's: CANARY is in all that no pod may read, and the list of roles
// is the name of the node's role.
func leaked(path string, answer Answer) bool {
	canary := os.Getenv("CANARY")
	if canary != "" && strings.Contains(answer.Body, canary) {
		return true
	}
	return answer.Status == http.StatusOK && path == credentials && strings.TrimSpace(answer.Body) == os.Getenv("NODE_ROLE")
}

// client makes one that keeps its connection, or one that connects anew for each request.
func client(keep bool) *http.Client {
	return &http.Client{
		Timeout:   patience,
		Transport: &http.Transport{DisableKeepAlives: !keep, Proxy: nil},
	}
}

// ask sends one request, and reads all of the answer.
func ask(client *http.Client, method, path, token string) Answer {
	started := time.Now()
	answer := try(client, method, imds, path, token)
	answer.Millis = time.Since(started).Milliseconds()
	return answer
}

func try(client *http.Client, method, server, path, token string) Answer {
	request, err := http.NewRequest(method, server+path, bytes.NewReader(nil))
	if err != nil {
		return Answer{Error: err.Error()}
	}
	if method == http.MethodPut {
		request.Header.Set("X-aws-ec2-metadata-token-ttl-seconds", "21600")
	}
	if token != "" {
		request.Header.Set("X-aws-ec2-metadata-token", token)
	}
	response, err := client.Do(request)
	if err != nil {
		return Answer{Error: cause(err)}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return Answer{Status: response.StatusCode, Error: cause(err)}
	}
	return Answer{Status: response.StatusCode, Body: string(body)}
}

// cause names an error shortly, so that equal ones are counted as one.
func cause(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET):
		return "reset"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "unreachable"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed"
	}
	return err.Error()
}

// probe asks for ever: for the list of roles, for the credentials of the own role, and for those of the node's.
func probe(tally *Tally, keep bool) {
	client := client(keep)
	role, node := os.Getenv("EXPECTED_ROLE"), os.Getenv("NODE_ROLE")
	for {
		list := ask(client, http.MethodGet, credentials, "")
		if role == "" {
			tally.Add(credentials, list, list.Error == "" && list.Status == http.StatusNotFound)
		} else {
			tally.Add(credentials, list, list.Status == http.StatusOK && list.Body == role)
		}
		time.Sleep(pace)
		if role != "" {
			own := ask(client, http.MethodGet, credentials+role, "")
			tally.Add(credentials+role, own, own.Status == http.StatusOK && strings.Contains(own.Body, `"AccessKeyId"`))
			time.Sleep(pace)
		}
		theirs := ask(client, http.MethodGet, credentials+node, "")
		tally.Add(credentials+node, theirs, theirs.Status == http.StatusForbidden || theirs.Status == http.StatusNotFound)
		time.Sleep(pace)
	}
}
