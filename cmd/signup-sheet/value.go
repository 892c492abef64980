package main

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"signup-sheet/consumer"
	"signup-sheet/sink"
)

// value is the type of a setting: how a text becomes its Go value.
type value struct {
	// unit says what kind of text is wanted, for the help.
	unit string
	// set parses text into the configuration. Its error says what is wanted ("want …") and never repeats the text, which may be
	// a secret in the wrong place: whoever reports the error decides whether to show it.
	set func(text string) error
	// words: the file must give a string. YAML reads 1.10, true or 2026-01-01 as something else, often to the writer's surprise.
	words bool
	// toggle: the flag alone means true.
	toggle bool
	// choices are all texts that set takes, if they are few.
	choices []string
	// split gives the items of a list.
	split func(text string) []string
}

// text is a text that check accepts.
func text[T ~string](to *T, unit string, check func(string) error) value {
	return value{unit: unit, words: true, set: func(text string) error {
		*to = T(text)
		return check(text)
	}}
}

// list is texts between commas, at least one, each without the space around it.
func list(to *[]string, check func(string) error) value { return listOf(to, splitCommas, check) }

// listOf is a list of items as split finds them. Its error has all that are wrong.
func listOf(to *[]string, split func(string) []string, check func(string) error) value {
	return value{unit: "list", split: split, set: func(text string) error {
		items := split(text)
		var errs []error
		for i, item := range items {
			err := check(item)
			if err != nil && len(items) > 1 {
				err = fmt.Errorf("item %d: %w", i+1, err)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("%w, separated by commas", err))
			}
		}
		switch len(errs) {
		case 0:
			*to = items
			return nil
		case 1:
			return errs[0]
		}
		return errors.Join(errs...)
	}}
}

func splitCommas(text string) []string {
	items := strings.Split(text, ",")
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return items
}

var ruleStatus = regexp.MustCompile(`^\s*\d(\d\d|xx)\s*([-:=,]|$)`)

// splitRules splits a list of rules at the commas that a status follows: what answers say has others.
func splitRules(text string) []string {
	var rules []string
	from := 0
	for i := range len(text) {
		if text[i] == ',' && ruleStatus.MatchString(text[i+1:]) {
			rules = append(rules, strings.TrimSpace(text[from:i]))
			from = i + 1
		}
	}
	return append(rules, strings.TrimSpace(text[from:]))
}

// columns is a list of columns, which may have commas in quotes and parentheses.
func columns(to *[]string) value {
	return value{unit: "list", split: sink.SplitColumns, set: func(text string) error {
		*to = sink.SplitColumns(text)
		_, err := consumer.ParseColumns(*to)
		return err
	}}
}

// choice is one of words.
func choice(to *string, words ...string) value {
	or := strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
	return value{unit: or, words: true, choices: words, set: func(text string) error {
		if !slices.Contains(words, text) {
			return errors.New("want " + or)
		}
		*to = text
		return nil
	}}
}

func logLevel(to *slog.Level) value {
	var name string
	v := choice(&name, "debug", "info", "warn", "error")
	choose := v.set
	v.set = func(text string) error {
		if err := choose(text); err != nil {
			return err
		}
		return to.UnmarshalText([]byte(name))
	}
	return v
}

func toggle(to *bool) value {
	return value{unit: "true or false", toggle: true, choices: []string{"true", "false"}, set: func(text string) error {
		if text != "true" && text != "false" {
			return errors.New("want true or false")
		}
		*to = text == "true"
		return nil
	}}
}

// number is a whole number in [least, most].
func number(to *int, least, most int) value {
	return value{unit: "number", set: func(text string) error {
		n, err := strconv.Atoi(text)
		if err != nil || n < least || n > most {
			return fmt.Errorf("want a whole number from %d to %d", least, most)
		}
		*to = n
		return nil
	}}
}

// duration is a time in Go's notation, in [least, most].
func duration(to *time.Duration, least, most time.Duration) value {
	return value{unit: "duration", set: func(text string) error {
		d, err := time.ParseDuration(text)
		if err != nil || d < least || d > most {
			return fmt.Errorf("want a duration from %s to %s with its unit, such as 500ms or 10s", short(least), short(most))
		}
		*to = d
		return nil
	}}
}

// short is d without the zero parts that Duration.String adds: 10m, not 10m0s.
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

const (
	kibibyte = 1 << 10
	mebibyte = 1 << 20
	gibibyte = 1 << 30
)

// size is a number of bytes in [least, most].
func size(to *int, least, most int) value {
	return value{unit: "size", set: func(text string) error {
		n, ok := parseSize(text)
		if !ok || n < least || n > most {
			return fmt.Errorf("want a size from %s to %s, in bytes or with one of the units kB, MB, GB, KiB, MiB, GiB, such as 512KiB", formatSize(least), formatSize(most))
		}
		*to = n
		return nil
	}}
}

// parseSize reads a whole number of bytes: 1024, 1KiB, 1MB, and 1Ki as Kubernetes writes it.
func parseSize(text string) (int, bool) {
	digits := strings.TrimRight(text, "BGKMik ")
	var unit int
	switch strings.TrimPrefix(text[len(digits):], " ") {
	case "", "B":
		unit = 1
	case "kB", "KB":
		unit = 1e3
	case "MB":
		unit = 1e6
	case "GB":
		unit = 1e9
	case "KiB", "Ki":
		unit = kibibyte
	case "MiB", "Mi":
		unit = mebibyte
	case "GiB", "Gi":
		unit = gibibyte
	default:
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || n > uint64(math.MaxInt/unit) {
		return 0, false
	}
	return int(n) * unit, true
}

// formatSize writes n with the largest binary unit that divides it.
func formatSize(n int) string {
	switch {
	case n == 0:
		return "0"
	case n%gibibyte == 0:
		return fmt.Sprintf("%dGiB", n/gibibyte)
	case n%mebibyte == 0:
		return fmt.Sprintf("%dMiB", n/mebibyte)
	case n%kibibyte == 0:
		return fmt.Sprintf("%dKiB", n/kibibyte)
	}
	return strconv.Itoa(n)
}

func anything(string) error { return nil }

func nonEmpty(text string) error {
	if strings.TrimSpace(text) == "" {
		return errors.New("want a name, not nothing")
	}
	return nil
}

var topicPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,249}$`)

// topicName holds Kafka's own rule for the names of topics.
func topicName(text string) error {
	if !topicPattern.MatchString(text) || text == "." || text == ".." {
		return errors.New("want a topic: 1 to 249 letters, digits, dots, underscores and hyphens")
	}
	return nil
}

// noTopicOr is topicName, or nothing.
func noTopicOr(text string) error {
	if text == "" {
		return nil
	}
	return topicName(text)
}

// position checks the place of a record in the topic.
func position(text string) error {
	if _, err := consumer.ParsePosition(text); err != nil {
		return errors.New("want partition:offset, such as 3:1042")
	}
	return nil
}

// answerRule checks a line of the table of answers.
func answerRule(text string) error {
	if _, err := sink.ParseRule(text); err != nil {
		return errors.New("want status=verdict, such as 404=refused, 500-503=endpoint, 5xx=endpoint or 400:queue is full=transient; " +
			"the verdict is accepted, refused, transient or endpoint")
	}
	return nil
}

func hostPort(text string) error {
	host, port, err := net.SplitHostPort(text)
	n, portErr := strconv.ParseUint(port, 10, 16)
	if err != nil || portErr != nil || n == 0 || host == "" || strings.ContainsAny(host, "/ ") {
		return errors.New("want host:port, such as kafka-1:9092")
	}
	return nil
}

func listenAddress(text string) error {
	if text == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(text)
	_, portErr := strconv.ParseUint(port, 10, 16)
	if err != nil || portErr != nil || strings.ContainsAny(host, "/ ") {
		return errors.New("want an address, such as :8080 or 127.0.0.1:8080, or nothing for no server")
	}
	return nil
}

// webURL checks a URL that may hold secrets anywhere.
func webURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" {
		return errors.New("want a URL that begins with https://, or with http:// for a test")
	}
	return nil
}

// plainURL checks a URL that must not hold a secret, which belongs into the file that another setting names.
func plainURL(secretFile string) func(text string) error {
	return func(text string) error {
		if err := webURL(text); err != nil {
			return err
		}
		if u, err := url.Parse(text); err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("want a URL without user, query and fragment (a secret goes into a file: %s)", secretFile)
		}
		return nil
	}
}
