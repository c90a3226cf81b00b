package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// Identity is what AWS says about the caller, and how the SDK came by the credentials.
type Identity struct {
	Arn         string `json:"arn,omitempty"`
	AccessKeyID string `json:"access_key_id,omitempty"`
	Source      string `json:"source,omitempty"`
	Error       string `json:"error,omitempty"`
	Millis      int64  `json:"millis"`
	// What the prober beside it has seen, in a job.
	Asked int `json:"asked,omitempty"`
	Leaks int `json:"leaks,omitempty"`
}

// whoAmI asks STS with a client as an application makes it: nothing configured, nothing remembered.
func whoAmI() (identity Identity) {
	started := time.Now()
	defer func() { identity.Millis = time.Since(started).Milliseconds() }()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	settings, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return Identity{Error: err.Error()}
	}
	credentials, err := settings.Credentials.Retrieve(ctx)
	if err != nil {
		return Identity{Error: err.Error()}
	}
	answer, err := sts.NewFromConfig(settings).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return Identity{Error: err.Error()}
	}
	return Identity{Arn: *answer.Arn, AccessKeyID: credentials.AccessKeyID, Source: credentials.Source}
}

// job asks once, while a prober asks for what is the node's. FAIL, where set, makes it fail whatever the answer.
func job() int {
	tally := &Tally{}
	go probe(tally, false)
	identity := whoAmI()
	counts := tally.Snapshot(false)
	identity.Asked, identity.Leaks = counts.Asked, counts.Leaks
	text, err := json.Marshal(identity)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(string(text))
	if err := os.WriteFile("/dev/termination-log", text, 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if os.Getenv("FAIL") != "" || identity.Error != "" {
		return 1
	}
	return 0
}
