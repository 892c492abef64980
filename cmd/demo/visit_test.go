package main

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"signup-sheet/internal/receiver"
	"signup-sheet/internal/receiver/receivertest"
)

// visitWebhook runs the demo with a webhook that has a secret in its address.
func visitWebhook(t *testing.T, r *receiver.Receiver, patience time.Duration) (string, error) {
	t.Helper()
	url := strings.Replace(receivertest.Serve(t, r), "http://", "http://user:s3cret@", 1) + "/s3cret"
	output, err := play(t.Context(), t, options{seed: 1, webhook: url, pace: 20 * time.Millisecond, patience: patience})
	if strings.Contains(output, "s3cret") || err != nil && strings.Contains(err.Error(), "s3cret") {
		t.Errorf("the webhook's secret is shown: %v\n%s", err, output)
	}
	return output, err
}

func TestAWebhookOfSomebodyElseGetsTwentyRowsOneAtATime(t *testing.T) {
	r := receiver.New()
	output, err := visitWebhook(t, r, time.Minute)
	if err != nil || !strings.Contains(output, "The webhook took 20 of 20 rows.") || !strings.Contains(output, "with the preset generic") {
		t.Errorf("%v\n%s", err, output)
	}
	if s := r.State(); s.Rows != 20 || s.Attempts != 20 || s.MaxInFlight != 1 {
		t.Errorf("%+v", s)
	}
	for _, e := range r.Rows() {
		if e.Row.Text("email") == "" {
			t.Errorf("row %v", e.Row.Columns())
		}
	}
}

func TestTheHostOfAWebhookChoosesThePreset(t *testing.T) {
	for webhook, want := range map[string]string{
		"https://script.google.com/macros/s/x/exec": "apps-script", "https://user:pw@hooks.slack.com:443/services/x": "slack",
		"http://127.0.0.1:8080/": "generic", "https://%zz": "generic",
	} {
		if got := presetOf(webhook); got != want {
			t.Errorf("%s: %s, want %s", webhook, got, want)
		}
	}
}

// However impatient somebody is: the consumer may start, and the webhook answer, before it is given up.
func TestAWebhookThatTakesNothingIsGivenUpWithTheReason(t *testing.T) {
	r := receiver.New()
	r.Script(receiver.Always(receiver.Answer{Status: http.StatusUnauthorized}))
	output, err := visitWebhook(t, r, time.Millisecond)
	if err == nil || !strings.Contains(output, "The webhook took 0 of 20 rows.") {
		t.Fatalf("%v\n%s", err, output)
	}
	for _, want := range []string{"no row was taken for 1ms", "401, 403"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %q", want, err)
		}
	}
}

func TestDeadLettersAreReadBeforeTheyAreNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := new(visit)
		var reading sync.WaitGroup
		reading.Go(func() {
			for range 2 {
				<-time.After(time.Second)
				v.mu.Lock()
				v.read++
				v.mu.Unlock()
			}
		})
		began := time.Now()
		if err := v.awaitLetters(t.Context(), 2); err != nil || time.Since(began) < 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		reading.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := v.awaitLetters(ctx, 3); err == nil {
			t.Error("no error without the third")
		}
	})
}

func TestRowsThatAWebhookRefusesAreNamed(t *testing.T) {
	r := receiver.New()
	var mu sync.Mutex
	var unwanted []string // the first two rows, however often they come
	r.Script(func(_ context.Context, a receiver.Attempt) receiver.Answer {
		mu.Lock()
		defer mu.Unlock()
		if len(unwanted) < 2 && !slices.Contains(unwanted, a.EventID) {
			unwanted = append(unwanted, a.EventID)
		}
		if slices.Contains(unwanted, a.EventID) {
			return receiver.Answer{Status: http.StatusUnprocessableEntity}
		}
		return receiver.Answer{}
	})
	output, err := visitWebhook(t, r, time.Minute)
	if err == nil || !strings.Contains(output, "The webhook took 18 of 20 rows.") || strings.Count(err.Error(), "is a dead letter: ") != 2 || !strings.Contains(err.Error(), "422") {
		t.Errorf("%v\n%s", err, output)
	}
}
