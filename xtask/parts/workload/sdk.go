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

// job asks once. EXIT_CODE, where set, is how it ends whatever the answer.
func job() int {
	identity := whoAmI()
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
	if os.Getenv("EXIT_CODE") != "" || identity.Error != "" {
		return 1
	}
	return 0
}
