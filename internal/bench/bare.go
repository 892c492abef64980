package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

// runBare is the role of the yardstick: what one writes in an afternoon, and tunes. A Reader with a group reads and commits what it
// has read every second, delivered or not; so many goroutines post values over connections that are kept. No order, no retry, no
// dead letter, no drain: a record whose request fails is gone.
func runBare(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bare", flag.ContinueOnError)
	broker := flags.String("broker", "", "address")
	topic := flags.String("topic", "", "name")
	group := flags.String("group", "", "name")
	url := flags.String("url", "", "of the webhook")
	inFlight := flags.Int("in-flight", 64, "requests")
	if err := flags.Parse(args); err != nil {
		return err
	}
	reader := kafkago.NewReader(kafkago.ReaderConfig{
		Brokers: []string{*broker}, Topic: *topic, GroupID: *group, StartOffset: kafkago.FirstOffset,
		MinBytes: 1, MaxBytes: 10e6, QueueCapacity: 1000, CommitInterval: time.Second,
		// As in the program.
		MaxWait: 500 * time.Millisecond, SessionTimeout: 10 * time.Second, HeartbeatInterval: time.Second,
	})
	defer reader.Close()
	transport := &http.Transport{MaxIdleConns: *inFlight, MaxIdleConnsPerHost: *inFlight, DisableCompression: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 5 * time.Second}

	values := make(chan []byte, *inFlight)
	var posting sync.WaitGroup
	defer posting.Wait()
	defer close(values)
	for range *inFlight {
		posting.Go(func() {
			for value := range values {
				if err := post(ctx, client, *url, value); err != nil {
					fmt.Fprintf(os.Stderr, "bare: a record is lost: %v\n", err)
				}
			}
		})
	}
	for {
		m, err := reader.ReadMessage(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		values <- m.Value
	}
}

func post(ctx context.Context, client *http.Client, url string, value []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(value))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("status %d", res.StatusCode)
	}
	_, err = io.Copy(io.Discard, res.Body)
	return err
}
