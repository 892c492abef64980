package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"signup-sheet/credentials"
)

// usageError is every mistake found in a command line, its environment and its file. The program exits with 2.
type usageError struct {
	command  string // the command whose help lists what is right, empty for the program's
	problems []string
}

func (e *usageError) Error() string {
	if len(e.problems) == 1 {
		return e.problems[0]
	}
	return fmt.Sprintf("%d problems:\n  %s", len(e.problems), strings.Join(e.problems, "\n  "))
}

// loader gathers what the operator wrote and everything that is wrong with it.
type loader struct {
	command  string
	settings []setting // that the command has
	problems []string
	origin   map[string]given // setting → the text in effect, the default included
	broken   map[string]bool  // settings whose text could not be parsed: no rule judges them
}

// given is a text for a setting. Where is the setting's name as the operator wrote it there ("--kafka.topic",
// "SIGNUP_SHEET_KAFKA_TOPIC", "prod.yaml:3: kafka.topic").
type given struct{ where, text string }

// load gives the configuration that args and env ask a command for: the flag before the environment before the file before the
// default. The error is a *usageError with everything that is wrong, and never has the value of a secret in it.
func load(command string, args []string, env map[string]string) (config, error) {
	c, l := read(command, args, env)
	if err := l.err(); err != nil {
		return config{}, err
	}
	return c, nil
}

// read is load for those who also ask where a value comes from.
func read(command string, args []string, env map[string]string) (config, *loader) {
	var c config
	l := &loader{command: command, settings: settingsOf(command, &c), origin: map[string]given{}, broken: map[string]bool{}}

	flags, variables := l.flags(args), l.environment(env)
	file := l.file(cmp.Or(flags["config"], variables["config"]))
	for _, s := range l.settings {
		l.settle(s, flags[s.name], variables[s.name], file[s.name], variables[s.also])
	}
	l.readSecrets(&c)
	l.deriveDefaults(&c)
	l.judge(&c)
	return c, l
}

// err is everything that is wrong, or nil.
func (l *loader) err() error {
	if len(l.problems) == 0 {
		return nil
	}
	return &usageError{command: l.command, problems: l.problems}
}

func (l *loader) problem(format string, args ...any) {
	l.problems = append(l.problems, fmt.Sprintf(format, args...))
}

func (l *loader) find(name string) (setting, bool) {
	i := slices.IndexFunc(l.settings, func(s setting) bool { return s.name == name })
	if i < 0 {
		return setting{}, false
	}
	return l.settings[i], true
}

// flags reads "--name value" and "--name=value". The flag package stops at the first mistake, so it is not used.
func (l *loader) flags(args []string) map[string]given {
	found := map[string]given{}
	for i := 0; i < len(args); i++ {
		long, isFlag := strings.CutPrefix(args[i], "--")
		if !isFlag {
			l.problem("argument %d: want a flag: --name value, or --name=value for true and false", i+1)
			continue
		}
		name, text, inOne := strings.Cut(long, "=")
		s, known := l.find(name)
		followed := i+1 < len(args) && !strings.HasPrefix(args[i+1], "--")
		switch {
		case inOne:
		case known && s.value.toggle:
			text = "true"
		case followed:
			i++
			text = args[i]
		case known:
			l.problem("--%s: no value follows", name)
			continue
		}
		if !known {
			l.problem("%s: no such flag%s", safeName("--", name), l.elsewhere(name))
			continue
		}
		found[name] = given{s.flag(), text}
	}
	return found
}

// elsewhere is the end of a message about a flag that the command does not have.
func (l *loader) elsewhere(name string) string {
	var c config
	for _, s := range declare(&c) {
		if s.name == name {
			return fmt.Sprintf(": only signup-sheet %s has it", s.only)
		}
	}
	return didYouMean("--", name, l.names())
}

// environment reads the variables with our prefix, and those that a setting also answers to under their own name.
func (l *loader) environment(env map[string]string) map[string]given {
	found, known := map[string]given{}, map[string]bool{}
	var names []string
	for _, s := range l.settings {
		if s.only != "" {
			continue
		}
		known[s.env()] = true
		names = append(names, strings.TrimPrefix(s.env(), envPrefix))
		if text, ok := env[s.env()]; ok {
			found[s.name] = given{s.env(), withoutLineBreak(text)}
		}
		if text := withoutLineBreak(env[s.also]); text != "" {
			found[s.also] = given{s.also, text}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		short, ours := strings.CutPrefix(name, envPrefix)
		if ours && !known[name] && !isServiceLink(name, env[name]) {
			l.problem("%s: no such environment variable%s", name, didYouMean(envPrefix, short, names))
		}
	}
	return found
}

// withoutLineBreak is text without one at its end, which a variable has that comes from a file: of a Secret, for example.
func withoutLineBreak(text string) string {
	return strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
}

var (
	serviceLinkName    = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?)$`)
	serviceLinkAddress = regexp.MustCompile(`^(tcp|udp|sctp)://`)
)

// isServiceLink tells whether Kubernetes put the variable there: it announces every Service of the namespace to every container,
// so one called signup-sheet or signup-sheet-metrics gives variables with our prefix.
// https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
func isServiceLink(name, text string) bool {
	return serviceLinkName.MatchString(name) || strings.HasSuffix(name, "_PORT") && serviceLinkAddress.MatchString(text)
}

// settle puts the first text that was given into effect.
func (l *loader) settle(s setting, flag, variable, file, also given) {
	chosen := cmp.Or(flag, variable, file)
	if also.where != "" {
		if chosen.where != "" && chosen.text != also.text {
			l.problem("%s and %s are set differently: remove one", chosen.where, also.where)
			l.broken[s.name] = true
		}
		chosen = cmp.Or(chosen, also)
	}
	chosen = cmp.Or(chosen, given{s.name, s.fallback}) // where is the bare name: nobody gave it
	l.origin[s.name] = chosen
	if chosen.text == "" && s.fallback == "" {
		return
	}
	if err := s.value.set(chosen.text); err != nil {
		l.broken[s.name] = true
		if several, ok := errors.AsType[interface {
			error
			Unwrap() []error
		}](err); ok {
			for _, err := range several.Unwrap() {
				l.problem("%s: %v", chosen.where, err)
			}
			return
		}
		shown := ""
		if s.showable(chosen.text) {
			shown = fmt.Sprintf(", not %q", chosen.text)
		}
		l.problem("%s: %v%s", chosen.where, err, shown)
	}
}

// showable is false for a text that may be a secret in the wrong place or have one: a URL; and where it is set how to log in, a
// user with the password, or a header field with its value.
func (s setting) showable(text string) bool {
	signs := "/@?"
	if strings.HasPrefix(s.name, "sink.auth.") || strings.HasPrefix(s.name, "kafka.sasl.") {
		signs += ": "
	}
	return !s.secret && len(text) <= 80 && !strings.ContainsAny(text, signs)
}

var namePattern = regexp.MustCompile(`^[A-Za-z_.-]{1,40}$`)

// safeName is prefix and name, unless name may be a secret in the wrong place.
func safeName(prefix, name string) string {
	if namePattern.MatchString(name) {
		return prefix + name
	}
	return prefix + "(a name that looks like no setting's)"
}

func (l *loader) names() []string {
	names := make([]string, len(l.settings))
	for i, s := range l.settings {
		names[i] = s.name
	}
	return names
}

// readSecrets reads the files that hold secrets.
func (l *loader) readSecrets(c *config) {
	if c.Sink.URLFile != "" {
		if c.Sink.URL != "" {
			l.problem("%s and %s are both set: remove one", l.origin["sink.url"].where, l.origin["sink.url_file"].where)
		} else {
			c.Sink.URL = l.readSecret("sink.url_file", c.Sink.URLFile, webURL)
		}
	}
	if c.Agify.APIKeyFile != "" {
		c.Agify.APIKey = l.readSecret("agify.api_key_file", c.Agify.APIKeyFile, token)
	}
	if c.Sink.HashKeyFile != "" {
		c.Sink.HashKey = l.readSecret("sink.hash_key_file", c.Sink.HashKeyFile, hashKey)
	}
	if c.Sink.URL == "" && c.Sink.URLFile == "" && !l.broken["sink.url"] {
		s, _ := l.find("sink.url")
		l.problem("sink.url is required: give it by %s, %s, %s, sink.url in the file, or sink.url_file", s.flag(), s.env(), s.also)
	}
}

func (l *loader) readSecret(name, path string, check func(string) error) secret {
	where := l.origin[name].where
	shown := path
	if !strings.HasPrefix(path, "/") && !strings.HasPrefix(path, ".") {
		shown = "the file" // what does not begin like a path may be the secret itself
	}
	content, err := readSmall(path, shown)
	if err != nil {
		l.problem("%s: %v", where, err)
		return ""
	}
	text := strings.TrimSpace(strings.TrimPrefix(string(content), "\ufeff"))
	if err := check(text); err != nil {
		l.problem("%s: the content of the file: %v", where, err)
		return ""
	}
	return secret(text)
}

// agifyKey reads the key in a file as readSecret does.
func agifyKey(path string) (string, error) {
	lines, err := credentials.Text(path).Lines()
	if err != nil {
		return "", err
	}
	key := strings.Join(lines, "\n")
	return key, token(key)
}

var tokenPattern = regexp.MustCompile(`^[!-~]+$`)

func token(text string) error {
	if !tokenPattern.MatchString(text) {
		return errors.New("want one word")
	}
	return nil
}

func hashKey(text string) error {
	if len(text) < 16 {
		return errors.New("want at least 16 characters, such as those of openssl rand -hex 32")
	}
	return nil
}

const largestFile = mebibyte

// readSmall reads a file of at most largestFile bytes, which its errors call shown.
func readSmall(path, shown string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && (info.IsDir() || info.Size() > largestFile) {
		return nil, fmt.Errorf("read %s: want a file of at most %s", shown, formatSize(largestFile))
	}
	content, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, fileError(err, shown)
	}
	return content, nil
}

// fileError says about a file, which it calls shown, why it cannot be read, and what to do.
func fileError(err error, shown string) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err
	}
	remedy := ""
	switch {
	case errors.Is(err, fs.ErrNotExist):
		remedy = ": create it, or correct the path"
	case errors.Is(err, fs.ErrPermission):
		remedy = ": let the user that runs this read it"
	}
	return fmt.Errorf("read %s: %w%s", shown, err, remedy)
}
