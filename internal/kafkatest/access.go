package kafkatest

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
)

// Permission is an operation on topics or groups.
type Permission struct {
	Operation      kadm.ACLOperation
	Topics, Groups []string
}

// Allow lets a principal ("User:signup") do what it lists, on a cluster with access control.
func (c *Cluster) Allow(t testing.TB, principal string, permissions ...Permission) {
	t.Helper()
	for _, p := range permissions {
		results, err := c.admin.CreateACLs(t.Context(), p.rule().Allow(principal).AllowHosts())
		if err != nil {
			t.Fatalf("allow %v: %v", p, err)
		}
		for _, r := range results {
			if r.Err != nil {
				t.Fatalf("allow %v: %v %s", p, r.Err, r.ErrMessage)
			}
		}
	}
}

// Forbid takes back what Allow gave.
func (c *Cluster) Forbid(t testing.TB, principal string, permissions ...Permission) {
	t.Helper()
	for _, p := range permissions {
		results, err := c.admin.DeleteACLs(t.Context(), p.rule().Allow(principal).AllowHosts())
		if err != nil {
			t.Fatalf("forbid %v: %v", p, err)
		}
		for _, r := range results {
			if r.Err != nil || len(r.Deleted) == 0 {
				t.Fatalf("forbid %v: %v %s, %d rules deleted", p, r.Err, r.ErrMessage, len(r.Deleted))
			}
		}
	}
}

func (p Permission) rule() *kadm.ACLBuilder {
	rule := kadm.NewACLs().ResourcePatternType(kadm.ACLPatternLiteral).Operations(p.Operation)
	if len(p.Topics) > 0 {
		rule.Topics(p.Topics...)
	}
	if len(p.Groups) > 0 {
		rule.Groups(p.Groups...)
	}
	return rule
}

// SetPassword gives a user a password for SCRAM-SHA-256.
func (c *Cluster) SetPassword(t testing.TB, user, password string) {
	t.Helper()
	results, err := c.admin.AlterUserSCRAMs(t.Context(), nil, []kadm.UpsertSCRAM{{
		User: user, Mechanism: kadm.ScramSha256, Iterations: 4096, Password: password,
	}})
	if err != nil {
		t.Fatalf("set the password of %s: %v", user, err)
	}
	if err := results.Error(); err != nil {
		t.Fatalf("set the password of %s: %v", user, err)
	}
}
