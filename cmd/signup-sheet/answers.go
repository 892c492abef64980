package main

import (
	"context"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"signup-sheet/consumer"
	"signup-sheet/enrich"
)

// answers is the cache topic: what agify answers to one process, all others know too. It is an [enrich.Store].
type answers struct {
	table *consumer.Table
	learn func(enrich.Answer) // set before run
}

// newAnswers prepares the cache topic, if cfg has one; nil without.
func newAnswers(cfg config, reg prometheus.Registerer, log *slog.Logger) *answers {
	if !cfg.Agify.Enabled || cfg.Agify.CacheTopic == "" {
		return nil
	}
	a := &answers{}
	table := tableOf(cfg, log)
	table.Take = func(key, value []byte) bool {
		answer, err := enrich.ParseAnswer(key, value)
		if err == nil {
			a.learn(answer)
		}
		return err == nil
	}
	a.table = consumer.NewTable(table, reg, log)
	return a
}

// tableOf is what a table is told of the configuration.
func tableOf(cfg config, log *slog.Logger) consumer.TableConfig {
	return consumer.TableConfig{
		Brokers:   cfg.Kafka.Brokers,
		Topic:     cfg.Agify.CacheTopic,
		Setting:   "agify.cache_topic",
		Retention: max(cfg.Agify.CacheTTL, cfg.Agify.UnknownTTL),
		TLS:       kafkaTLS(cfg.Kafka.TLS, log),
		SASL:      kafkaSASL(cfg.Kafka.SASL),
	}
}

// connect makes an enricher's answers go to the topic, and wait for those that are there.
func (a *answers) connect(c *enrich.Config) { c.Store, c.Ready = a, a.table.Ready() }

// Keep implements enrich.Store.
func (a *answers) Keep(answer enrich.Answer) {
	if key, value, err := answer.Record(); err == nil { // of what an enricher says there is none
		a.table.Put(key, value)
	}
}

// run reads and writes the topic until stop is called, whatever becomes of ctx: the last rows ask agify too. A nil a does nothing.
func (a *answers) run(ctx context.Context) (stop func()) {
	if a == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { a.table.Run(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}
