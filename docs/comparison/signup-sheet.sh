# signup-sheet with its defaults, but no ages: the other tools ask nobody for them.
export SIGNUP_SHEET_SINK_URL=$ENDPOINT
exec bin/signup-sheet run --kafka.brokers "$BROKER" --kafka.topic "$TOPIC" --kafka.group "$GROUP" --sink.concurrency 64 \
  --agify.enabled=false --admin.listen 127.0.0.1:0
