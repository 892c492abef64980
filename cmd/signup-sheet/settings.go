package main

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"signup-sheet/sink"
)

// envPrefix begins the name of every environment variable of the program.
const envPrefix = "SIGNUP_SHEET_"

// config is what the program runs with: every setting, parsed, checked and with its derived default filled in.
type config struct {
	File       string // the YAML file that was read, empty for none
	Online     bool   // check only: try brokers and endpoints too
	Kafka      kafkaConfig
	Consumer   consumerConfig
	DeadLetter deadLetterConfig
	Sink       sinkConfig
	Agify      agifyConfig
	Event      eventConfig
	Admin      adminConfig
	Log        logConfig
	Replay     replayConfig  // replay only
	Explain    explainConfig // explain only
}

type kafkaConfig struct {
	Brokers           []string // host:port, never empty
	Topic             string
	Group             string
	SessionTimeout    time.Duration
	HeartbeatInterval time.Duration
	TLS               tlsConfig
	SASL              saslConfig
}

// tlsConfig names PEM files, which are read when they are used.
type tlsConfig struct {
	Enabled         bool
	CAFile          string // empty: the system's authorities
	CertificateFile string
	KeyFile         string
}

// saslConfig names files with secrets, which are read when they are used.
type saslConfig struct {
	Mechanism        string // none, plain, scram-sha-256, scram-sha-512 or oauthbearer
	Username         string
	PasswordFile     string
	TokenFile        string
	TokenURL         string
	ClientID         string
	ClientSecretFile string
	Scopes           []string
}

type consumerConfig struct {
	Window         int // unsettled records a partition
	WindowBytes    int // for the whole process
	Order          string
	CommitInterval time.Duration
	DrainTimeout   time.Duration
	Start          string
}

// rebalanceTimeout is how long the coordinator waits for members to rejoin: the drain, and time to commit and to be heard.
func (c consumerConfig) rebalanceTimeout() time.Duration { return c.DrainTimeout + 10*time.Second }

type deadLetterConfig struct {
	Topic  string
	Create bool
	Budget int      // of the latest 100 rows
	Force  []string // partition:offset
}

type sinkConfig struct {
	URL          secret // from sink.url or from the file that sink.url_file names
	URLFile      string
	AllowHTTP    bool
	Auth         sinkAuthConfig
	TLS          tlsConfig // Enabled is not used: the URL says it
	Concurrency  int
	Timeout      time.Duration
	Preset       string
	Rate         float64 // attempts a second of the whole group; 0 for no limit
	MaxBodyBytes int     // bytes; 0 for no limit
	MaxAttempts  int
	MaxElapsed   time.Duration
	Rules        []string
	Columns      []string // as consumer.ParseColumns takes them
	SheetSafe    bool
	HashKeyFile  string
	HashKey      secret // from the file that sink.hash_key_file names, empty for none
}

// sinkAuthConfig names files with secrets, which are read again and again.
type sinkAuthConfig struct {
	Mechanism        string // one of sink.AuthMechanisms
	TokenFile        string
	Header           string
	Username         string
	PasswordFile     string
	TokenURL         string
	ClientID         string
	ClientSecretFile string
	Scopes           []string
	SecretsFile      string
}

type agifyConfig struct {
	Enabled    bool
	URL        string
	Timeout    time.Duration
	APIKeyFile string
	APIKey     secret // from the file that agify.api_key_file names, as it is checked at the start, see agifyKey; empty for none

	CacheSize  int
	CacheTTL   time.Duration
	UnknownTTL time.Duration
	CacheTopic string // empty for none
	BatchSize  int
	Linger     time.Duration

	MinRemaining    int
	Required        bool
	RequiredMaxWait time.Duration
}

type eventConfig struct {
	MaxBytes int
}

type adminConfig struct {
	Listen string // empty: no admin server
}

type logConfig struct {
	Level  slog.Level
	Format string // auto, json or text
}

// setting is the one declaration of a setting. Its flag, its environment variable, its key in the YAML file, its line of
// help and its default all follow from it.
type setting struct {
	name     string // "kafka.topic": the flag with -- before it, the keys of the YAML file with the dots as levels
	value    value
	fallback string // the default, as an operator would write it
	derived  string // how the default is found when fallback leaves it open
	help     string
	secret   bool   // the value is shown to nobody
	also     string // another environment variable that gives this setting
	fileless bool   // not a key of the YAML file
	only     string // the command that alone has it, as a flag and nothing else; empty: every command that takes settings
}

// flag is the setting's name on the command line.
func (s setting) flag() string { return "--" + s.name }

// env is the name of the setting's environment variable.
func (s setting) env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(s.name, ".", "_"))
}

// group is the part of the name before the first dot, and the heading in the help.
func (s setting) group() string {
	if s.only != "" {
		return s.only
	}
	group, _, _ := strings.Cut(s.name, ".")
	return group
}

// settingsOf lists what a command can be told, in the order of the help. Setting a value writes into c.
func settingsOf(command string, c *config) []setting {
	return slices.DeleteFunc(declare(c), func(s setting) bool { return s.only != "" && s.only != command })
}

// declare lists every setting in the order of the help. Setting a value writes into c.
func declare(c *config) []setting {
	return append(append(replaySettings(&c.Replay), explainSettings(&c.Explain)...), []setting{
		{
			name: "config", value: text(&c.File, "file", anything), fileless: true,
			help: "YAML file with settings, the dots of their names as levels: the key topic below kafka is kafka.topic",
		},
		{
			name: "online", value: toggle(&c.Online), fallback: "false", only: "check",
			help: "try brokers, topics, permissions and endpoints too, without sending a row",
		},

		{
			name: "kafka.brokers", value: list(&c.Kafka.Brokers, hostPort), fallback: "localhost:9092",
			help: "brokers to find the cluster by: host:port, separated by commas",
		},
		{
			name: "kafka.topic", value: text(&c.Kafka.Topic, "topic", topicName), fallback: "user.signup",
			help: "topic with the signups",
		},
		{
			name: "kafka.group", value: text(&c.Kafka.Group, "name", nonEmpty), fallback: "signup-sheet",
			help: "consumer group; it keeps the progress, so one group for each sheet",
		},
		{
			name: "kafka.session_timeout", value: duration(&c.Kafka.SessionTimeout, time.Second, 30*time.Minute), fallback: "10s",
			help: "silence after which the group gives the partitions of a dead process to another",
		},
		{
			name: "kafka.heartbeat_interval", value: duration(&c.Kafka.HeartbeatInterval, 50*time.Millisecond, 10*time.Minute), fallback: "1s",
			help: "time between heartbeats, and how soon a rebalance is noticed; at most a third of kafka.session_timeout",
		},
		{
			name: "kafka.tls.enabled", value: toggle(&c.Kafka.TLS.Enabled), fallback: "false",
			help: "encrypt connections to brokers. The files below are read anew for each connection, so they may be replaced at any time",
		},
		{
			name: "kafka.tls.ca_file", value: text(&c.Kafka.TLS.CAFile, "file", anything), derived: "the system's authorities",
			help: "PEM file with the authorities that sign the brokers' certificates",
		},
		{
			name: "kafka.tls.certificate_file", value: text(&c.Kafka.TLS.CertificateFile, "file", anything),
			help: "PEM file with the certificate that brokers know us by (mutual TLS), and its chain",
		},
		{
			name: "kafka.tls.key_file", value: text(&c.Kafka.TLS.KeyFile, "file", anything),
			help: "PEM file with the key of kafka.tls.certificate_file, without a passphrase",
		},
		{
			name:  "kafka.sasl.mechanism",
			value: choice(&c.Kafka.SASL.Mechanism, "none", "plain", "scram-sha-256", "scram-sha-512", "oauthbearer"), fallback: "none",
			help: "how to log in to brokers. The files below are read anew at each login, so they may be replaced at any time",
		},
		{
			name: "kafka.sasl.username", value: text(&c.Kafka.SASL.Username, "name", nonEmpty),
			help: "user, for plain and scram",
		},
		{
			name: "kafka.sasl.password_file", value: text(&c.Kafka.SASL.PasswordFile, "file", anything),
			help: "file that holds the user's password, for plain and scram",
		},
		{
			name: "kafka.sasl.token_file", value: text(&c.Kafka.SASL.TokenFile, "file", anything),
			help: "file that holds the token, for oauthbearer; somebody else keeps it fresh",
		},
		{
			name: "kafka.sasl.token_url", value: text(&c.Kafka.SASL.TokenURL, "URL", plainURL(settingClientSecret)),
			help: "where to ask for tokens by OAuth client credentials, for oauthbearer, instead of kafka.sasl.token_file",
		},
		{
			name: "kafka.sasl.client_id", value: text(&c.Kafka.SASL.ClientID, "name", nonEmpty),
			help: "client, for kafka.sasl.token_url",
		},
		{
			name: "kafka.sasl.client_secret_file", value: text(&c.Kafka.SASL.ClientSecretFile, "file", anything),
			help: "file that holds the client's secret, for kafka.sasl.token_url",
		},
		{
			name: "kafka.sasl.scopes", value: list(&c.Kafka.SASL.Scopes, nonEmpty),
			help: "scopes to ask for, for kafka.sasl.token_url",
		},

		{
			name: "consumer.window", value: number(&c.Consumer.Window, 1, 1_000_000), fallback: "4096",
			help: "records taken and not yet settled, for each partition",
		},
		{
			name: "consumer.window_bytes", value: size(&c.Consumer.WindowBytes, 64*kibibyte, 64*gibibyte), fallback: "32MiB",
			help: "the same as memory, for the whole process; at least event.max_bytes",
		},
		{
			name: "consumer.order", value: choice(&c.Consumer.Order, "key", "none"), fallback: "key",
			help: "key: signups with the same key are delivered in order; none: in any order",
		},
		{
			name: "consumer.commit_interval", value: duration(&c.Consumer.CommitInterval, 10*time.Millisecond, 10*time.Minute), fallback: "1s",
			help: "time between commits of progress; at most a third of kafka.session_timeout",
		},
		{
			name: "consumer.drain_timeout", value: duration(&c.Consumer.DrainTimeout, 0, time.Hour), fallback: "0s",
			derived: "agify.timeout if enabled + sink.timeout + 2s",
			help:    "time for rows under way to finish before a stop or a rebalance",
		},
		{
			name: "consumer.start", value: choice(&c.Consumer.Start, "earliest", "latest"), fallback: "earliest",
			help: "where a group without progress starts",
		},

		{
			name: "dead_letter.topic", value: text(&c.DeadLetter.Topic, "topic", topicName), derived: "kafka.topic + .dlq",
			help: "topic for records that can never be delivered",
		},
		{
			name: "dead_letter.create", value: toggle(&c.DeadLetter.Create), fallback: "false",
			help: "create the topic at the start if it does not exist: partitions as kafka.topic, replicas as the brokers' default",
		},
		{
			name: "dead_letter.budget", value: number(&c.DeadLetter.Budget, 0, 100), fallback: "20",
			help: "dead letters among the latest 100 rows; rows above it wait and are tried again, since the endpoint may be to blame. " +
				"Records that cannot be decoded do not count",
		},
		{
			name: "dead_letter.force", value: list(&c.DeadLetter.Force, position),
			help: "records to put there without an attempt, as partition:offset: the way out for a row that holds up its key",
		},

		{
			name: "sink.url", value: text(&c.Sink.URL, "URL", webURL), secret: true, also: "SHEETS_WEBHOOK_URL",
			help: "webhook that writes the sheet; required, here or by sink.url_file. It is a secret, and other users of the machine " +
				"can see flags: prefer the environment or a file. SHEETS_WEBHOOK_URL gives it too",
		},
		{
			name: "sink.url_file", value: text(&c.Sink.URLFile, "file", anything),
			help: "file that holds the URL of the webhook, instead of sink.url. Like the files of sink.auth and sink.tls it may be " +
				"replaced at any time, and is read again every few seconds",
		},
		{
			name: "sink.allow_http", value: toggle(&c.Sink.AllowHTTP), fallback: "false",
			help: "send signups and secrets by http:// too, which all on the way can read. To this machine itself that is allowed anyway",
		},
		{
			name: "sink.auth.mechanism", value: choice(&c.Sink.Auth.Mechanism, sink.AuthMechanisms()...), fallback: sink.AuthNone,
			help: "how the webhook knows who calls. hmac signs each request as Standard Webhooks 1.0.0 says",
		},
		{
			name: "sink.auth.token_file", value: text(&c.Sink.Auth.TokenFile, "file", anything),
			help: "file that holds the token, for bearer, or the key, for api-key",
		},
		{
			name: "sink.auth.header", value: text(&c.Sink.Auth.Header, "header field", sink.CheckAuthHeader),
			help: "header field that carries the key, for api-key, such as X-Api-Key",
		},
		{
			name: "sink.auth.username", value: text(&c.Sink.Auth.Username, "name", sink.CheckUsername),
			help: "user, for basic",
		},
		{
			name: "sink.auth.password_file", value: text(&c.Sink.Auth.PasswordFile, "file", anything),
			help: "file that holds the user's password, for basic",
		},
		{
			name: "sink.auth.token_url", value: text(&c.Sink.Auth.TokenURL, "URL", plainURL(settingSinkClientSecret)),
			help: "where to ask for tokens by OAuth client credentials, for oauth2",
		},
		{
			name: "sink.auth.client_id", value: text(&c.Sink.Auth.ClientID, "name", nonEmpty),
			help: "client, for oauth2",
		},
		{
			name: "sink.auth.client_secret_file", value: text(&c.Sink.Auth.ClientSecretFile, "file", anything),
			help: "file that holds the client's secret, for oauth2. When it is replaced, another token is asked for at once",
		},
		{
			name: "sink.auth.scopes", value: list(&c.Sink.Auth.Scopes, nonEmpty),
			help: "scopes to ask for, for oauth2",
		},
		{
			name: "sink.auth.secrets_file", value: text(&c.Sink.Auth.SecretsFile, "file", anything),
			help: "file that holds the secrets to sign with, for hmac: whsec_ and base64 of 24 to 64 bytes, a line each. All of them sign",
		},
		{
			name: "sink.tls.ca_file", value: text(&c.Sink.TLS.CAFile, "file", anything), derived: "the system's authorities",
			help: "PEM file with the authorities that sign the webhook's certificate",
		},
		{
			name: "sink.tls.certificate_file", value: text(&c.Sink.TLS.CertificateFile, "file", anything),
			help: "PEM file with the certificate that the webhook knows us by (mutual TLS), and its chain",
		},
		{
			name: "sink.tls.key_file", value: text(&c.Sink.TLS.KeyFile, "file", anything),
			help: "PEM file with the key of sink.tls.certificate_file, without a passphrase",
		},
		{
			name: "sink.preset", value: choice(&c.Sink.Preset, sink.PresetNames()...), fallback: "generic",
			help: "what is behind the webhook: decides how rows are sent, what its answers mean, and the defaults of other settings",
		},
		{
			name: "sink.concurrency", value: number(&c.Sink.Concurrency, 1, 10_000), derived: byPreset("64"),
			help: "requests in flight to the webhook",
		},
		{
			name: "sink.timeout", value: duration(&c.Sink.Timeout, 10*time.Millisecond, 10*time.Minute), derived: byPreset("5s"),
			help: "time for one request to the webhook",
		},
		{
			name: "sink.max_body_bytes", value: size(&c.Sink.MaxBodyBytes, kibibyte, gibibyte), derived: byPreset("any size"),
			help: "largest request to the webhook; a row with a larger one is a dead letter, without a request",
		},
		{
			name: "sink.rate", value: requestRate(&c.Sink.Rate), derived: byPreset("as many as the webhook takes"),
			help: "requests a second to the webhook, of all processes of the group together: each has the part that its partitions are " +
				"of all partitions",
		},
		{
			name: "sink.max_attempts", value: number(&c.Sink.MaxAttempts, 1, 1_000_000), fallback: "12",
			help: "requests for a row that fails while others are accepted, before it becomes a dead letter; see sink.max_elapsed",
		},
		{
			name: "sink.max_elapsed", value: duration(&c.Sink.MaxElapsed, time.Second, 30*24*time.Hour), fallback: "15m",
			help: "time in which they are made, at least. Time in which the webhook takes nothing from anyone does not count",
		},
		{
			name: "sink.rules", value: listOf(&c.Sink.Rules, splitRules, answerRule),
			help: "what answers mean, where not as usual: status=verdict or status:text=verdict, such as 404=refused, " +
				"5xx=endpoint or 400:queue is full=transient. Verdicts: accepted, refused, transient, endpoint",
		},
		{
			name: "sink.columns", value: columns(&c.Sink.Columns), fallback: strings.Join(sink.DefaultColumns(), ", "),
			help: "columns of a row in order, each a name of these or name=path|function|…, such as plan=signup.plan, when=record.timestamp|date(2006-01-02) " +
				"or source='web'; all paths and functions are in docs/columns.md. Nothing else of an event is sent",
		},
		{
			name: "sink.sheet_safe", value: toggle(&c.Sink.SheetSafe), derived: byPreset("true"),
			help: "put an apostrophe before texts that a sheet would take for a formula, those that begin with = + - or @; the column's function raw leaves them as they are",
		},
		{
			name: "sink.hash_key_file", value: text(&c.Sink.HashKeyFile, "file", anything),
			help: "file that holds the key of the columns' function hash; another key gives other hashes",
		},

		{
			name: "replay.share", value: number(&c.Replay.Share, 1, 100), fallback: "25",
			help: "percent of sink.rate that a replay takes on top of it",
		},

		{
			name: "agify.enabled", value: toggle(&c.Agify.Enabled), fallback: "true",
			help: "guess ages from first names; a row goes out without an age when the guess fails",
		},
		{
			name: "agify.url", value: text(&c.Agify.URL, "URL", plainURL("agify.api_key_file")), fallback: "https://api.agify.io",
			help: "address of the agify API",
		},
		{
			name: "agify.timeout", value: duration(&c.Agify.Timeout, 10*time.Millisecond, 10*time.Minute), fallback: "3s",
			help: "time that a row waits for its age at most",
		},
		{
			name: "agify.api_key_file", value: text(&c.Agify.APIKeyFile, "file", anything),
			help: "file that holds the API key; it is read again when it changes",
		},
		{
			name: "agify.cache_size", value: number(&c.Agify.CacheSize, 1, 100_000_000), fallback: "100000",
			help: "guesses kept in memory, each for one first name in one country: about 200 bytes",
		},
		{
			name: "agify.cache_ttl", value: duration(&c.Agify.CacheTTL, time.Second, 100*365*24*time.Hour), fallback: "2160h",
			help: "time after which a name is asked about again",
		},
		{
			name: "agify.unknown_ttl", value: duration(&c.Agify.UnknownTTL, time.Second, 100*365*24*time.Hour), fallback: "168h",
			help: "the same for a name that agify did not know",
		},
		{
			name: "agify.cache_topic", value: text(&c.Agify.CacheTopic, "topic", noTopicOr),
			help: "compacted topic where guesses are kept too, so that restarts, replays and other members do not ask again; " +
				"created if it is missing; empty for none",
		},
		{
			name: "agify.batch_size", value: number(&c.Agify.BatchSize, 1, 100), fallback: "10",
			help: "names in a request, at most; agify documents 10, its own clients send up to 100",
		},
		{
			name: "agify.linger", value: duration(&c.Agify.Linger, 0, time.Second), fallback: "5ms",
			help: "time that a name waits for others to share its request",
		},
		{
			name: "agify.min_remaining", value: number(&c.Agify.MinRemaining, 0, 1_000_000_000), fallback: "250",
			help: "names of agify's quota that a replay leaves to the consumer; rows beyond go without an age",
		},
		{
			name: "agify.required", value: toggle(&c.Agify.Required), fallback: "false",
			help: "let rows wait while agify fails or its quota is used up, instead of sending them without an age",
		},
		{
			name: "agify.required_max_wait", value: duration(&c.Agify.RequiredMaxWait, time.Second, 100*365*24*time.Hour), fallback: "1h",
			help: "time without an answer after which rows go without an age even so, until agify answers again",
		},

		{
			name: "event.max_bytes", value: size(&c.Event.MaxBytes, kibibyte, 512*mebibyte), fallback: "1MiB",
			help: "largest record taken for a signup; a larger one is a dead letter",
		},

		{
			name: "admin.listen", value: text(&c.Admin.Listen, "address", listenAddress), fallback: ":8080",
			help: "address of /livez, /readyz, /metrics and /status; empty for none",
		},

		{
			name: "log.level", value: logLevel(&c.Log.Level), fallback: "info",
			help: "least severe messages to write",
		},
		{
			name: "log.format", value: choice(&c.Log.Format, "auto", "json", "text"), fallback: "auto",
			help: "auto: text on a terminal, JSON elsewhere",
		},
	}...)
}

// byPreset says of a setting how its default is found.
func byPreset(generic string) string { return generic + "; by sink.preset if one is set" }

// secret is a text that no verb, log or encoder shows. Only string(s) gives it.
type secret string

const redacted = "[secret]"

// Format writes the same words for every verb.
func (secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalText is what encoders and slog's handlers write.
func (secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
