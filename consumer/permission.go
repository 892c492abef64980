package consumer

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/segmentio/kafka-go"
)

// isDenied reports whether err is a verdict of the brokers' access control. It
// may change at any time, so what was denied is tried again.
func isDenied(err error) bool {
	return errors.Is(err, kafka.TopicAuthorizationFailed) || errors.Is(err, kafka.GroupAuthorizationFailed) || errors.Is(err, kafka.ClusterAuthorizationFailed)
}

// permission adds to a verdict of the access control on the topic or the group
// what would have to be allowed. Other errors stay as they are.
func (c Config) permission(err error) error {
	switch {
	case errors.Is(err, kafka.GroupAuthorizationFailed):
		return fmt.Errorf("%w: allow READ on group %s", err, c.Group)
	case errors.Is(err, kafka.TopicAuthorizationFailed):
		return fmt.Errorf("%w: allow READ on topic %s", err, c.Topic)
	}
	return err
}

// severity is how loud an error is that is tried again: what needs somebody to
// act is an error.
func severity(err error) slog.Level {
	if isDenied(err) || errors.Is(err, kafka.SASLAuthenticationFailed) {
		return slog.LevelError
	}
	return slog.LevelWarn
}
