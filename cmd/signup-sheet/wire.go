package main

import (
	"context"
	"io"
	"log/slog"
	"net/url"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"signup-sheet/consumer"
	"signup-sheet/consumer/signup"
	"signup-sheet/credentials"
	"signup-sheet/enrich"
	"signup-sheet/sink"
)

// runConsumer builds the program from its parts and runs it until ctx ends. The admin server starts first and stops last.
func runConsumer(ctx context.Context, cfg config, log *slog.Logger, _ io.Writer) error {
	p, err := assemble(cfg, log)
	if err != nil {
		return err
	}
	defer p.close()
	admin, err := p.startAdmin(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer admin.stop()
	defer p.answers.run(ctx)()
	return p.consumer.Run(ctx)
}

// parts are what the program is made of.
type parts struct {
	build    build
	registry *prometheus.Registry
	group    string
	consumer *consumer.Consumer
	answers  *answers // nil without a cache topic; runs beside the consumer
	close    func()   // when the consumer has ended
}

// assemble builds the consumer that cfg asks for: for all signups, or for a replay.
func assemble(cfg config, log *slog.Logger) (*parts, error) {
	b := readBuild()
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), buildInfo(b))

	userAgent := "signup-sheet/" + b.Version
	shared := newAnswers(cfg, reg, log)
	ages, closeAges, err := newAges(cfg, userAgent, shared, reg, log)
	if err != nil {
		return nil, err
	}

	if cfg.Kafka.sendsSecretInClear() {
		log.Warn("the login to the brokers is not encrypted: set kafka.tls.enabled unless the network encrypts", "mechanism", cfg.Kafka.SASL.Mechanism)
	}
	cfg.Sink.suggestPreset(log)
	consuming := consumerOf(cfg, log)
	consuming.Sink.UserAgent, consuming.Ages = userAgent, ages
	consuming.RequireAges, consuming.AgesMaxWait = cfg.Agify.Required, cfg.Agify.RequiredMaxWait
	if cfg.Replay.asked() {
		cfg.Replay.apply(&consuming)
	}
	c, err := consumer.New(consuming, reg, log)
	if err != nil {
		closeAges()
		return nil, err
	}
	return &parts{build: b, registry: reg, group: consuming.Group, consumer: c, answers: shared, close: closeAges}, nil
}

// startAdmin starts the admin server for the consumer.
func (p *parts) startAdmin(ctx context.Context, cfg config, log *slog.Logger) (*admin, error) {
	type status struct {
		Build build `json:"build"`
		consumer.Status
	}
	return startAdmin(ctx, cfg.Admin.Listen, health{
		live:   p.consumer.Live,
		ready:  p.consumer.Ready,
		status: func() any { return status{p.build, p.consumer.Status()} },
	}, p.registry, log)
}

// consumerOf is what a consumer is told of the configuration.
func consumerOf(cfg config, log *slog.Logger) consumer.Config {
	return consumer.Config{
		Brokers: cfg.Kafka.Brokers,
		Topic:   cfg.Kafka.Topic,
		Group:   cfg.Kafka.Group,
		TLS:     kafkaTLS(cfg.Kafka.TLS, log),
		SASL:    kafkaSASL(cfg.Kafka.SASL),

		SessionTimeout:    cfg.Kafka.SessionTimeout,
		HeartbeatInterval: cfg.Kafka.HeartbeatInterval,
		CommitInterval:    cfg.Consumer.CommitInterval,
		DrainTimeout:      cfg.Consumer.DrainTimeout,

		Window:      cfg.Consumer.Window,
		WindowBytes: int64(cfg.Consumer.WindowBytes),
		KeyOrder:    cfg.Consumer.Order == "key",
		StartLatest: cfg.Consumer.Start == "latest",

		DeadLetterTopic:  cfg.DeadLetter.Topic,
		CreateDeadLetter: cfg.DeadLetter.Create,
		ForceDeadLetters: each(cfg.DeadLetter.Force, consumer.ParsePosition),
		Event:            signup.Limits{MaxBytes: cfg.Event.MaxBytes},

		Columns:  cfg.Sink.Columns,
		RawCells: !cfg.Sink.SheetSafe,
		HashKey:  []byte(cfg.Sink.HashKey),
		Sink:     sinkOf(cfg),
	}
}

// sinkOf is what a sink is told of the configuration.
func sinkOf(cfg config) sink.Config {
	return sink.Config{
		URL:         string(cfg.Sink.URL),
		URLFile:     credentials.Text(cfg.Sink.URLFile),
		AllowHTTP:   cfg.Sink.AllowHTTP,
		Auth:        cfg.Sink.Auth.auth(),
		TLSFiles:    cfg.Sink.TLS.files(),
		Preset:      cfg.Sink.Preset,
		Concurrency: cfg.Sink.Concurrency,
		Timeout:     cfg.Sink.Timeout,
		Rate:        cfg.Sink.Rate,
		MaxAttempts: cfg.Sink.MaxAttempts,
		MaxElapsed:  cfg.Sink.MaxElapsed,
		Rules:       each(cfg.Sink.Rules, sink.ParseRule),

		MaxBodyBytes: cfg.Sink.MaxBodyBytes,

		DeadLetterBudget: cfg.DeadLetter.Budget,
	}
}

// suggestPreset says so if the webhook is at a host that there is a preset for, and none is set.
func (c sinkConfig) suggestPreset(log *slog.Logger) {
	u, err := url.Parse(string(c.URL))
	if err != nil || c.Preset != "generic" {
		return
	}
	if preset := sink.PresetOf(u.Hostname()); preset != c.Preset {
		log.Warn("the webhook is at a host that there is a preset for: set sink.preset, or it is treated like any other", "preset", preset)
	}
}

// each parses texts that were checked.
func each[T any](texts []string, parse func(string) (T, error)) []T {
	var parsed []T
	for _, text := range texts {
		if one, err := parse(text); err == nil {
			parsed = append(parsed, one)
		}
	}
	return parsed
}

// newAges returns who guesses ages, nil for nobody, and what to do at the end.
func newAges(cfg config, userAgent string, shared *answers, reg prometheus.Registerer, log *slog.Logger) (consumer.Ages, func(), error) {
	if !cfg.Agify.Enabled {
		return nil, func() {}, nil
	}
	config := enrich.Config{
		URL:         cfg.Agify.URL,
		Timeout:     cfg.Agify.Timeout,
		CacheSize:   cfg.Agify.CacheSize,
		CacheTTL:    cfg.Agify.CacheTTL,
		UnknownTTL:  cfg.Agify.UnknownTTL,
		BatchSize:   cfg.Agify.BatchSize,
		Linger:      cfg.Agify.Linger,
		UserAgent:   userAgent,
		Concurrency: cfg.Sink.Concurrency,
	}
	if cfg.Agify.APIKeyFile != "" {
		config.APIKey = func() (string, error) { return agifyKey(cfg.Agify.APIKeyFile) }
	}
	if cfg.Replay.asked() {
		config.MinRemaining = cfg.Agify.MinRemaining
	}
	if shared != nil {
		shared.connect(&config)
	}
	e, err := enrich.New(config, reg, log)
	if err != nil {
		return nil, nil, err
	}
	if shared != nil {
		shared.learn = e.Learn
	}
	return e, e.Close, nil
}

// buildInfo is a metric that is always 1 and says which build this is.
func buildInfo(b build) prometheus.Collector {
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "signup_sheet_build_info", Help: "Always 1; the labels say which build this is.",
		ConstLabels: prometheus.Labels{"version": b.Version, "goversion": b.Go, "commit": b.Commit},
	})
	g.Set(1)
	return g
}
