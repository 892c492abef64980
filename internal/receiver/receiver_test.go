package receiver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"

	"signup-sheet/internal/receiver"
	"signup-sheet/internal/receiver/receivertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// side is a receiver and a client of it.
type side struct {
	*receiver.Receiver
	url    string
	client *http.Client
}

// onEachNetwork runs the test on loopback and in a synctest bubble.
func onEachNetwork(t *testing.T, test func(t *testing.T, s side)) {
	t.Run("loopback", func(t *testing.T) { test(t, loopback(t)) })
	t.Run("bubble", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(t, bubble(t)) })
	})
}

func loopback(t *testing.T, options ...receiver.Option) side {
	r := receiver.New(options...)
	return side{r, receivertest.Serve(t, r), newClient(t, nil)}
}

func bubble(t *testing.T, options ...receiver.Option) side {
	var network kfake.VirtualNetwork
	listener, err := network.Listen("tcp", "localhost:8000")
	if err != nil {
		t.Fatal(err)
	}
	r := receiver.New(options...)
	return side{r, receivertest.ServeOn(t, r, listener), newClient(t, network.DialContext)}
}

func newClient(t *testing.T, dial func(ctx context.Context, network, address string) (net.Conn, error)) *http.Client {
	transport := &http.Transport{DialContext: dial}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func row(eventID string) string {
	return fmt.Sprintf(`{"event_id":%q,"email":"a@b.example","age_guess":41,"metadata":{"n":9007199254740993}}`, eventID)
}

// send posts a body and returns status, header and body of the answer. The body cannot be read twice, so the client
// never repeats the request by itself.
func (s side) send(ctx context.Context, body string) (int, http.Header, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, io.NopCloser(strings.NewReader(body)))
	if err != nil {
		return 0, nil, "", err
	}
	req.ContentLength = int64(len(body))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "test/1")
	req.Header.Set("Idempotency-Key", "key-1")
	req.Header.Set("Authorization", "Bearer secret")
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, nil, "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, string(answer), err
}

func (s side) mustSend(t *testing.T, body string) (status int) {
	t.Helper()
	status, _, _, err := s.send(t.Context(), body)
	if err != nil {
		t.Errorf("send: %v", err)
	}
	return status
}

func ids(entries []receiver.Entry) []string {
	var ids []string
	for _, e := range entries {
		ids = append(ids, e.EventID)
	}
	return ids
}

func TestDuplicatesAreAcceptedButAreNoNewRows(t *testing.T) {
	onEachNetwork(t, func(t *testing.T, s side) {
		for _, id := range []string{"a", "b", "a", "c", "b"} {
			if status := s.mustSend(t, row(id)); status != http.StatusOK {
				t.Errorf("%s: status %d", id, status)
			}
		}
		if got, want := ids(s.Accepted()), []string{"a", "b", "a", "c", "b"}; !slices.Equal(got, want) {
			t.Errorf("accepted %q, want %q", got, want)
		}
		if got, want := ids(s.Rows()), []string{"a", "b", "c"}; !slices.Equal(got, want) {
			t.Errorf("rows %q, want %q", got, want)
		}
		if s.Count("a") != 2 || s.Count("c") != 1 || s.Count("d") != 0 || s.Attempts("b") != 2 {
			t.Errorf("counts %d %d %d, attempts %d", s.Count("a"), s.Count("c"), s.Count("d"), s.Attempts("b"))
		}
		state := s.State()
		if state.Rows != 3 || state.Accepted != 5 || state.Duplicates() != 2 || state.Attempts != 5 || state.Requests != 5 {
			t.Errorf("state %+v", state)
		}
	})
}

func TestAnEntryHasTheRowAsItCame(t *testing.T) {
	s := loopback(t)
	s.Script(receiver.First(1, receiver.Answer{Status: http.StatusServiceUnavailable}))
	body := row("ä\u00a0")
	s.mustSend(t, body)
	before := time.Now()
	s.mustSend(t, body)
	e := s.Accepted()[0]
	if e.EventID != "ä\u00a0" || string(e.Body) != body || e.Attempt != 2 || e.Duplicate || e.Time.Before(before) {
		t.Errorf("entry %+v", e)
	}
	if got, want := e.Row.Columns(), []string{"event_id", "email", "age_guess", "metadata"}; !slices.Equal(got, want) {
		t.Errorf("columns %q, want %q", got, want)
	}
	if got := string(e.Row.Get("metadata")); got != `{"n":9007199254740993}` {
		t.Errorf("metadata %s", got)
	}
	if e.Row.Text("email") != "a@b.example" || e.Row.Text("age_guess") != "41" || e.Row.Get("plan") != nil {
		t.Errorf("row %v", e.Row)
	}
	if len(e.Header) != 3 || e.Header.Get("Idempotency-Key") != "key-1" || e.Header.Get("User-Agent") != "test/1" {
		t.Errorf("header %v", e.Header)
	}
}

func TestWhatIsNoRowIsRefused(t *testing.T) {
	s := loopback(t)
	for _, test := range []struct {
		name, method, contentType, body string
		want                            int
	}{
		{"get", http.MethodGet, "", "", http.StatusMethodNotAllowed},
		{"put", http.MethodPut, "application/json", row("a"), http.StatusMethodNotAllowed},
		{"form", http.MethodPost, "application/x-www-form-urlencoded", row("a"), http.StatusUnsupportedMediaType},
		{"no type", http.MethodPost, "", row("a"), http.StatusUnsupportedMediaType},
		{"no JSON", http.MethodPost, "application/json", `{"event_id":"a"`, http.StatusBadRequest},
		{"array", http.MethodPost, "application/json", `[` + row("a") + `]`, http.StatusBadRequest},
		{"two objects", http.MethodPost, "application/json", row("a") + row("b"), http.StatusBadRequest},
		{"duplicate name", http.MethodPost, "application/json", `{"event_id":"a","event_id":"b"}`, http.StatusBadRequest},
		{"no id", http.MethodPost, "application/json", `{"email":"a@b.example"}`, http.StatusBadRequest},
		{"null id", http.MethodPost, "application/json", `{"event_id":null}`, http.StatusBadRequest},
		{"too large", http.MethodPost, "application/json", tooLarge(), http.StatusRequestEntityTooLarge},
		{"charset", http.MethodPost, "application/json; charset=utf-8", row("a"), http.StatusOK},
		{"suffix", http.MethodPost, "application/cloudevents+json", row("b"), http.StatusOK},
	} {
		t.Run(test.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), test.method, s.url, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", test.contentType)
			resp, err := s.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != test.want {
				t.Errorf("status %d, want %d", resp.StatusCode, test.want)
			}
		})
	}
	if state := s.State(); state.Requests != 13 || state.Attempts != 2 || state.Accepted != 2 {
		t.Errorf("state %+v", state)
	}
}

// tooLarge is a body that is larger than a receiver reads, but not by much: all of it is on its way when the answer comes, and no
// write can fail because the connection is closed.
func tooLarge() string { return `{"event_id":"` + strings.Repeat("a", 4<<20) + `"}` }

// Not even of a connection that net/http keeps for a while, so that the client reads the answer.
func TestNothingIsLeftOfAServer(t *testing.T) {
	t.Run("of a body that is too large", func(t *testing.T) {
		if status := loopback(t).mustSend(t, tooLarge()); status != http.StatusRequestEntityTooLarge {
			t.Errorf("status %d", status)
		}
	})
	goleak.VerifyNone(t)
}

func TestAnAnswerDecidesWhetherTheRowIsAccepted(t *testing.T) {
	for _, test := range []struct {
		name     string
		answer   receiver.Answer
		status   int // 0: no answer
		accepted int
	}{
		{"plain", receiver.Answer{}, 200, 1},
		{"201", receiver.Answer{Status: 201, Body: "made"}, 201, 1},
		{"503", receiver.Answer{Status: 503, Header: http.Header{"Retry-After": {"8"}}, Body: "busy"}, 503, 0},
		{"302", receiver.Answer{Status: 302, Header: http.Header{"Location": {"http://elsewhere.example"}}}, 302, 0},
		{"drop", receiver.Answer{Drop: true}, 0, 0},
		{"500 after", receiver.Answer{Status: 500, After: true}, 500, 1},
		{"drop after", receiver.Answer{Drop: true, After: true}, 0, 1},
		{"200 after", receiver.Answer{After: true}, 200, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			onEachNetwork(t, func(t *testing.T, s side) {
				s.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
				s.Script(receiver.First(1, test.answer))
				status, header, body, err := s.send(t.Context(), row("a"))
				if (err != nil) != (test.status == 0) || status != test.status {
					t.Fatalf("status %d, error %v", status, err)
				}
				if body != test.answer.Body {
					t.Errorf("body %q, want %q", body, test.answer.Body)
				}
				for name := range test.answer.Header {
					if header.Get(name) != test.answer.Header.Get(name) {
						t.Errorf("%s is %q", name, header.Get(name))
					}
				}
				if s.Count("a") != test.accepted || s.Attempts("a") != 1 {
					t.Errorf("accepted %d times of %d, want %d of 1", s.Count("a"), s.Attempts("a"), test.accepted)
				}
				if s.mustSend(t, row("a")) != http.StatusOK || s.Count("a") != test.accepted+1 {
					t.Errorf("the next attempt was not accepted")
				}
			})
		})
	}
}

func TestDropResetsTheConnection(t *testing.T) {
	s := loopback(t)
	s.Script(receiver.Always(receiver.Answer{Drop: true}))
	_, _, _, err := s.send(t.Context(), row("a"))
	if err == nil || !strings.Contains(err.Error(), "reset") {
		t.Errorf("error %v, want a connection reset", err)
	}
}

func TestDelayPutsOffAcceptanceAndAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		s.Script(receiver.Always(receiver.Answer{Delay: 2 * time.Second}))
		start := time.Now()
		s.mustSend(t, row("a"))
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("answered after %s, want 2s", took)
		}
		if at := s.Accepted()[0].Time.Sub(start); at != 2*time.Second {
			t.Errorf("accepted after %s, want 2s", at)
		}
		s.Script(receiver.Always(receiver.Answer{Delay: 2 * time.Second, After: true}))
		start = time.Now()
		s.mustSend(t, row("b"))
		if at := s.Accepted()[1].Time.Sub(start); at != 0 {
			t.Errorf("with After accepted after %s, want at once", at)
		}
	})
}

func TestARowWhoseClientLeftWhileItWaitedIsNotAccepted(t *testing.T) {
	for _, test := range []struct {
		name     string
		answer   receiver.Answer
		accepted int
	}{
		{"delay", receiver.Answer{Delay: time.Hour}, 0},
		{"hang", receiver.Answer{Hang: make(chan struct{})}, 0},
		{"delay after", receiver.Answer{Delay: time.Hour, After: true}, 1},
		{"hang after", receiver.Answer{Hang: make(chan struct{}), After: true}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			onEachNetwork(t, func(t *testing.T, s side) {
				s.Script(receiver.Always(test.answer))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var sending sync.WaitGroup
				sending.Go(func() {
					if _, _, _, err := s.send(ctx, row("a")); !errors.Is(err, context.Canceled) {
						t.Errorf("send: %v", err)
					}
				})
				if err := s.Wait(t.Context(), receiver.Attempts(1)); err != nil {
					t.Fatal(err)
				}
				if s.InFlight() != 1 {
					t.Errorf("%d in flight, want 1", s.InFlight())
				}
				cancel()
				sending.Wait()
				if err := s.Wait(t.Context(), receiver.Idle); err != nil {
					t.Fatal(err)
				}
				if s.Count("a") != test.accepted {
					t.Errorf("accepted %d times, want %d", s.Count("a"), test.accepted)
				}
			})
		})
	}
}

func TestHangEndsWhenReleased(t *testing.T) {
	onEachNetwork(t, func(t *testing.T, s side) {
		release := make(chan struct{})
		s.Script(receiver.Any(
			receiver.Event("slow", receiver.Always(receiver.Answer{Hang: release})),
			receiver.Event("busy", receiver.Always(receiver.Answer{Status: http.StatusTooManyRequests})),
		))
		var sending sync.WaitGroup
		for range 3 {
			sending.Go(func() {
				if status, _, _, err := s.send(t.Context(), row("slow")); status != http.StatusOK || err != nil {
					t.Errorf("slow: status %d, error %v", status, err)
				}
			})
		}
		if err := s.Wait(t.Context(), receiver.Attempts(3)); err != nil {
			t.Fatal(err)
		}
		if status := s.mustSend(t, row("busy")); status != http.StatusTooManyRequests {
			t.Errorf("busy: status %d", status)
		}
		if status := s.mustSend(t, row("quick")); status != http.StatusOK {
			t.Errorf("quick: status %d", status)
		}
		if got := ids(s.Accepted()); !slices.Equal(got, []string{"quick"}) {
			t.Errorf("accepted %q before the release", got)
		}
		close(release)
		sending.Wait()
		if s.Count("slow") != 3 || s.MaxInFlight() != 4 || s.InFlight() != 0 {
			t.Errorf("accepted %d times, %d in flight, %d at most", s.Count("slow"), s.InFlight(), s.MaxInFlight())
		}
	})
}

func TestABehaviourSeesTheAttempt(t *testing.T) {
	s := loopback(t)
	var seen []receiver.Attempt
	s.Script(func(_ context.Context, a receiver.Attempt) receiver.Answer {
		seen = append(seen, a)
		return receiver.Answer{Status: http.StatusBadGateway}
	})
	for _, id := range []string{"a", "b", "a"} {
		s.mustSend(t, row(id))
	}
	last := seen[2]
	if last.EventID != "a" || last.N != 2 || last.Total != 3 || last.Row.Text("email") != "a@b.example" || last.Header.Get("Idempotency-Key") != "key-1" {
		t.Errorf("attempt %+v", last)
	}
	s.Script(nil)
	if s.mustSend(t, row("a")) != http.StatusOK {
		t.Error("not accepted without a script")
	}
}

func TestWaitIsWokenByEveryChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		var waiting sync.WaitGroup
		for n := range 5 {
			waiting.Go(func() {
				if err := s.Wait(t.Context(), receiver.Rows(n)); err != nil {
					t.Error(err)
				}
				if rows := s.State().Rows; rows != n {
					t.Errorf("woken at %d rows, want %d", rows, n)
				}
			})
		}
		for n := range 4 {
			synctest.Wait()
			s.mustSend(t, row(fmt.Sprint(n)))
			synctest.Wait()
		}
		waiting.Wait()
	})
}

func TestWaitEndsWithItsContextAndSaysWhatThereWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		s.mustSend(t, row("a"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := s.Wait(ctx, receiver.Rows(2))
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "Rows:1") {
			t.Errorf("error %v", err)
		}
	})
}

func TestRowsAreWrittenOnceInOrderAndAFailureIsNoAcceptance(t *testing.T) {
	var written []string
	full := false
	s := loopback(t, receiver.KeepEntries(false), receiver.WriteRows(func(e receiver.Entry) error {
		if full {
			return errors.New("no space left")
		}
		written = append(written, e.EventID)
		return nil
	}))
	s.mustSend(t, row("a"))
	s.mustSend(t, row("a"))
	full = true
	if status := s.mustSend(t, row("b")); status != http.StatusInternalServerError || s.Count("b") != 0 {
		t.Errorf("status %d, accepted %d times", status, s.Count("b"))
	}
	full = false
	s.mustSend(t, row("b"))
	if !slices.Equal(written, []string{"a", "b"}) || s.Count("b") != 1 {
		t.Errorf("written %q", written)
	}
	if s.Accepted() != nil || s.State().Rows != 2 {
		t.Errorf("kept %d entries, %d rows", len(s.Accepted()), s.State().Rows)
	}
}

func TestConcurrentRowsAreAllCounted(t *testing.T) {
	s := loopback(t)
	var sending sync.WaitGroup
	for worker := range 8 {
		sending.Go(func() {
			for n := range 50 {
				s.mustSend(t, row(fmt.Sprint((worker+n)%100))) // each id several times
			}
		})
	}
	sending.Wait()
	state := s.State()
	if state.Accepted != 400 || state.Rows != 57 || len(s.Rows()) != 57 || state.InFlight != 0 || state.MaxInFlight > 8 {
		t.Errorf("state %+v", state)
	}
}
