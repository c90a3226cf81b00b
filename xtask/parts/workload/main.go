// Command workload is what the pods of `cargo xtask e2e` run.
//
//	workload pause    waits for SIGTERM: the container that holds a pod's namespaces
//	workload job      asks AWS who it is, once, with AWS's SDK; writes the answer where kubectl finds it
//	workload serve    asks the metadata service all the time, counts the answers, and asks on demand (port 8080)
//
// Environment: EXPECTED_ROLE is the role whose credentials are right (empty: 404 is), CANARY is part of everything that
// no pod may read, NODE_ROLE is the node's role.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	command := ""
	if len(os.Args) > 1 {
		command = os.Args[1]
	}
	// A program that is process 1 gets no signal that it does not ask for.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	switch command {
	case "pause":
	case "job":
		os.Exit(job())
	case "serve":
		go serve()
	default:
		fmt.Fprintln(os.Stderr, "usage: workload pause|job|serve")
		os.Exit(2)
	}
	<-signals
}
