# The bare loop of internal/bench: kafka-go reads and commits every second, 64 goroutines post. No retry, no order.
exec bin/bench bare -broker "$BROKER" -topic "$TOPIC" -group "$GROUP" -url "$ENDPOINT" -in-flight 64
