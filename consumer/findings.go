package consumer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/describegroups"
	"github.com/segmentio/kafka-go/protocol/metadata"
)

// Finding is what Check found out about one thing that a member needs.
type Finding struct {
	What   string // "broker kafka-1:9092", "topic user.signup"
	Detail string // what is known of it
	Err    error  // why a member could not work, and what to do; nil if it could. A *SetupError names the thing itself
}

// Check tries what a member of the group needs of the cluster, within ctx's
// time, and changes nothing: it joins no group, commits no offset, writes no
// record and creates nothing. The findings come in the order brokers, group,
// topic, dead-letter topic, and the topics of tables, which are on the same
// cluster; only the brokers' if none answers.
func Check(ctx context.Context, cfg Config, tables ...TableConfig) []Finding {
	d := newDialer(cfg)
	defer d.sever()
	t := &trial{cfg: cfg, dialer: d}

	found := make([]Finding, len(cfg.Brokers))
	named := make([][]string, len(cfg.Brokers))
	var tries sync.WaitGroup
	for i, address := range cfg.Brokers {
		tries.Go(func() {
			found[i].What = "broker " + address
			if named[i], found[i].Err = t.broker(ctx, address); found[i].Err == nil {
				found[i].Detail = "answers"
			}
		})
	}
	tries.Wait()
	var reached []string
	for i, f := range found {
		if f.Err == nil {
			reached = append(reached, cfg.Brokers[i])
		}
	}
	if len(reached) == 0 {
		return found
	}
	t.cluster = t.connect(reached...)
	defer t.cluster.close()

	all := []func(context.Context) Finding{
		func(ctx context.Context) Finding { return t.advertised(ctx, slices.Concat(named...)) },
		t.group, t.source, t.deadLetters,
	}
	for _, table := range tables {
		all = append(all, func(ctx context.Context) Finding { return t.table(ctx, reached, table) })
	}
	rest := make([]Finding, len(all))
	for i, try := range all {
		tries.Go(func() { rest[i] = try(ctx) })
	}
	tries.Wait()
	return append(found, rest...)
}

// trial is one run of Check.
type trial struct {
	cfg     Config
	dialer  *dialer
	cluster *cluster // of the brokers that answer
}

// connect has the same connections as a member would have.
func (t *trial) connect(brokers ...string) *cluster {
	return newCluster(brokers, clientID, t.dialer, t.cfg.Topic, t.cfg.DeadLetterTopic)
}

// broker connects to one broker and asks it by which addresses the cluster names
// its brokers.
func (t *trial) broker(ctx context.Context, address string) (named []string, err error) {
	k := t.connect(address)
	defer k.close()
	res, err := ask[*metadata.Response](ctx, k, &metadata.Request{TopicNames: []string{}}, requestTimeout)
	if err != nil {
		return nil, t.remedied(err)
	}
	for _, b := range res.Brokers {
		named = append(named, net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port))))
	}
	return named, nil
}

// advertised connects to the brokers by the addresses that the cluster gives
// them, which is where fetches and commits go: they may be others than those of
// the configuration.
func (t *trial) advertised(ctx context.Context, named []string) Finding {
	slices.Sort(named)
	named = slices.Compact(named)
	errs := make([]error, len(named))
	var tries sync.WaitGroup
	for i, address := range named {
		if slices.Contains(t.cfg.Brokers, address) {
			continue // has a finding
		}
		tries.Go(func() { _, errs[i] = t.broker(ctx, address) })
	}
	tries.Wait()
	f := Finding{What: "addresses of the cluster", Detail: strings.Join(named, ", ")}
	for i, err := range errs {
		if err != nil {
			f.Err = fmt.Errorf("%s, as a broker is called in advertised.listeners: %w", named[i], err)
		}
	}
	return f
}

// group finds the group's coordinator and asks who is a member.
func (t *trial) group(ctx context.Context) Finding {
	f := Finding{What: "group " + t.cfg.Group}
	forbidden := &SetupError{"kafka.group", fmt.Sprintf("READ on group %q is not allowed", t.cfg.Group), "allow it"}
	var group describegroups.ResponseGroup
	f.Err = persist(ctx, func() error {
		res, err := ask[*describegroups.Response](ctx, t.cluster, &describegroups.Request{
			Groups: []string{t.cfg.Group}, IncludeAuthorizedOperations: true,
		}, requestTimeout)
		if err != nil {
			return err
		}
		if len(res.Groups) != 1 {
			return fmt.Errorf("%d groups in the answer", len(res.Groups))
		}
		if group = res.Groups[0]; group.ErrorCode != 0 {
			return kafka.Error(group.ErrorCode)
		}
		return nil
	})
	switch {
	case errors.Is(f.Err, kafka.GroupAuthorizationFailed):
		f.Err = forbidden
	case f.Err != nil:
	case !operations(group.AuthorizedOperations).allow(opRead):
		f.Err = forbidden
	case group.ProtocolType != "" && group.ProtocolType != "consumer":
		f.Err = &SetupError{"kafka.group", fmt.Sprintf("group %q is used by something else, of the type %s", t.cfg.Group, group.ProtocolType), "name another group"}
	default:
		f.Detail = fmt.Sprintf("may be joined, members now: %d", len(group.Members))
	}
	return f
}

// source looks at the topic with the signups.
func (t *trial) source(ctx context.Context) Finding {
	return t.topic(ctx, "topic "+t.cfg.Topic, "kafka.topic", t.cfg.Topic, need{opRead, "READ"})
}

// deadLetters looks at the dead-letter topic, and whether it keeps what is
// written to it.
func (t *trial) deadLetters(ctx context.Context) Finding {
	topic := t.cfg.DeadLetterTopic
	if _, err := t.cluster.topic(ctx, topic); errors.Is(err, kafka.UnknownTopicOrPartition) && t.cfg.CreateDeadLetter {
		return Finding{What: "dead-letter topic " + topic, Detail: "does not exist yet; the start creates it (dead_letter.create)"}
	}
	f := t.topic(ctx, "dead-letter topic "+topic, "dead_letter.topic", topic, need{opWrite, "WRITE"})
	if f.Err != nil {
		return f
	}
	policy, err := t.cluster.topicConfig(ctx, topic, "cleanup.policy")
	if err != nil {
		f.Detail += ", cleanup.policy unknown (it must be delete): " + err.Error()
		return f
	}
	if f.Err = losing(topic, policy); f.Err == nil {
		f.Detail += ", cleanup.policy=" + policy
	}
	return f
}

// table looks at the topic of a table, and whether it stays small.
func (t *trial) table(ctx context.Context, brokers []string, cfg TableConfig) Finding {
	c := newCluster(brokers, clientID, t.dialer, cfg.Topic)
	defer c.close()
	what := "shared topic " + cfg.Topic
	own := &trial{cfg: t.cfg, dialer: t.dialer, cluster: c}
	if _, err := c.topic(ctx, cfg.Topic); errors.Is(err, kafka.UnknownTopicOrPartition) {
		return Finding{What: what, Detail: "does not exist yet; the start creates it if it may (" + cfg.Setting + ")"}
	}
	f := own.topic(ctx, what, cfg.Setting, cfg.Topic, need{opRead, "READ"}, need{opWrite, "WRITE"})
	if f.Err != nil {
		return f
	}
	switch policy, err := c.topicConfig(ctx, cfg.Topic, "cleanup.policy"); {
	case err != nil:
		f.Detail += ", cleanup.policy unknown (it should be compact,delete): " + err.Error()
	case !strings.Contains(policy, tableCompact):
		f.Detail += ", cleanup.policy=" + policy + " (it should be compact,delete: every start reads all that was ever written)"
	default:
		f.Detail += ", cleanup.policy=" + policy
	}
	return f
}

// need is an operation that has to be allowed.
type need struct {
	operation int
	name      string
}

// topic looks whether a topic is there, led, and open to some operations.
func (t *trial) topic(ctx context.Context, what, setting, topic string, needs ...need) Finding {
	f := Finding{What: what}
	var named []string
	for _, n := range needs {
		named = append(named, n.name)
	}
	names, are := strings.Join(named, " and "), "is"
	if len(named) > 1 {
		are = "are"
	}
	info, err := t.cluster.topic(ctx, topic)
	switch {
	case errors.Is(err, kafka.UnknownTopicOrPartition):
		err = missing(setting, topic)
	case errors.Is(err, kafka.TopicAuthorizationFailed):
		err = &SetupError{setting, fmt.Sprintf("%s on topic %q are not allowed", strings.Join(append([]string{"DESCRIBE"}, named...), " and "), topic), "allow them, or correct the setting"}
	}
	if err != nil {
		f.Err = err
		return f
	}
	for p, leader := range info.leaders {
		if leader < 0 {
			f.Err = fmt.Errorf("partition %d has no leader: look after the brokers that have it", p)
			return f
		}
	}
	f.Detail = fmt.Sprintf("%d partitions, %s %s allowed", len(info.leaders), names, are)
	allowed, err := t.cluster.operations(ctx, topic)
	switch {
	case err != nil:
		f.Err = err
		return f
	case allowed == notTold:
		f.Detail = fmt.Sprintf("%d partitions, whether %s %s allowed is not told", len(info.leaders), names, are)
	}
	for _, n := range needs {
		if !allowed.allow(n.operation) {
			f.Err = &SetupError{setting, fmt.Sprintf("%s on topic %q is not allowed", n.name, topic), "allow it"}
			return f
		}
	}
	return f
}

// persist repeats a request to a coordinator that is not there yet, as on a
// cluster that has had no group before.
func persist(ctx context.Context, request func() error) error {
	for {
		err := request()
		if !errors.Is(err, kafka.GroupCoordinatorNotAvailable) && !errors.Is(err, kafka.GroupLoadInProgress) && !errors.Is(err, kafka.NotCoordinatorForGroup) {
			return err
		}
		select {
		case <-time.After(250 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// remedied adds to the error of a connection what to do about it.
func (t *trial) remedied(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return fmt.Errorf("%w: correct host and port, or see to it that they can be reached from here", err)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w: is it the port of a broker, and does it expect TLS or a login?", err)
	}
	if isClosed(err) && (t.cfg.TLS == nil || t.cfg.SASL == nil) {
		return fmt.Errorf("%w: the broker closed the connection: does it expect TLS (kafka.tls.enabled) or a login (kafka.sasl.mechanism)?", err)
	}
	return err
}
