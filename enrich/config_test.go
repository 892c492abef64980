package enrich_test

import (
	"strings"
	"testing"
	"time"

	"signup-sheet/enrich"
)

func TestConfigErrorsNameTheSettingAndNeverItsValue(t *testing.T) {
	valid := enrich.Config{URL: "https://api.agify.io", Timeout: time.Second, CacheSize: 1, CacheTTL: 1, UnknownTTL: 1, BatchSize: 1, Concurrency: 1}
	if err := valid.Validate(); err != nil {
		t.Fatalf("a valid configuration: %v", err)
	}
	for _, tc := range []struct {
		name    string
		change  func(*enrich.Config)
		setting string
	}{
		{"no URL", func(c *enrich.Config) { c.URL = "" }, "agify.url"},
		{"URL without a host", func(c *enrich.Config) { c.URL = "https:///marker" }, "agify.url"},
		{"another scheme", func(c *enrich.Config) { c.URL = "ftp://marker" }, "agify.url"},
		{"not a URL", func(c *enrich.Config) { c.URL = "https://marker\x00" }, "agify.url"},
		{"URL with a key", func(c *enrich.Config) { c.URL = "https://api.agify.io?apikey=marker" }, "agify.url"},
		{"URL with an empty query", func(c *enrich.Config) { c.URL = "https://api.agify.io?" }, "agify.url"},
		{"URL with a password", func(c *enrich.Config) { c.URL = "https://user:marker@api.agify.io" }, "agify.url"},
		{"URL with a fragment", func(c *enrich.Config) { c.URL = "https://api.agify.io#marker" }, "agify.url"},
		{"no timeout", func(c *enrich.Config) { c.Timeout = 0 }, "agify.timeout"},
		{"negative timeout", func(c *enrich.Config) { c.Timeout = -1 }, "agify.timeout"},
		{"no cache", func(c *enrich.Config) { c.CacheSize = 0 }, "agify.cache_size"},
		{"no time to live", func(c *enrich.Config) { c.CacheTTL = 0 }, "agify.cache_ttl"},
		{"no time to live of what is unknown", func(c *enrich.Config) { c.UnknownTTL = 0 }, "agify.unknown_ttl"},
		{"no batch", func(c *enrich.Config) { c.BatchSize = 0 }, "agify.batch_size"},
		{"a batch that agify never takes", func(c *enrich.Config) { c.BatchSize = 101 }, "agify.batch_size"},
		{"linger as long as the timeout", func(c *enrich.Config) { c.Linger = c.Timeout }, "agify.linger"},
		{"negative linger", func(c *enrich.Config) { c.Linger = -1 }, "agify.linger"},
		{"negative reserve", func(c *enrich.Config) { c.MinRemaining = -1 }, "agify.min_remaining"},
		{"no concurrency", func(c *enrich.Config) { c.Concurrency = 0 }, "concurrency of age lookups"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := valid
			cfg.APIKey = keyOf("marker")
			tc.change(&cfg)
			_, err := enrich.New(cfg, nil, nil)
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.HasPrefix(err.Error(), tc.setting+": ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %q, want one error about %s", err, tc.setting)
			}
			if strings.Contains(err.Error(), "marker") {
				t.Errorf("the error has the value: %q", err)
			}
		})
	}
}

func TestConfigErrorsComeAllAtOnce(t *testing.T) {
	err := enrich.Config{}.Validate()
	if err == nil || strings.Count(err.Error(), "\n") != 6 {
		t.Errorf("got %v, want seven errors", err)
	}
}
