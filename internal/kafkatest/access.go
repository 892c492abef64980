package kafkatest

import (
	"context"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
)

// Permission is an operation on topics or groups.
type Permission struct {
	Operation      kadm.ACLOperation
	Topics, Groups []string
}

// Allow lets a principal ("User:signup") do what it lists, on a cluster with access control, and returns when its broker
// goes by it: it answers when the controller has the rule.
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
		c.waitRules(t, principal, p, true)
	}
}

// Forbid takes back what Allow gave, and returns when the broker goes by it.
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
		c.waitRules(t, principal, p, false)
	}
}

// waitRules returns when the rules by which the broker decides have those of a permission, or none of them. kfake's do at once.
func (c *Cluster) waitRules(t testing.TB, principal string, p Permission, there bool) {
	t.Helper()
	if c.fake != nil {
		return
	}
	poll(t, fmt.Sprintf("%v of %s in force: %t", p, principal, there), func(ctx context.Context) error {
		results, err := c.admin.DescribeACLs(ctx, p.rule().Allow(principal).AllowHosts())
		if err != nil {
			return err
		}
		for _, r := range results {
			if r.Err != nil {
				return r.Err
			}
			if there != (len(r.Described) > 0) {
				return fmt.Errorf("%d rules", len(r.Described))
			}
		}
		return nil
	})
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

// SetPassword gives a user a password for SCRAM-SHA-256. A broker may go by the old one a moment longer.
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
