# The engine of Redpanda Connect, benthos, with its http_client output. It reads a file: its core has no Kafka input.
exec "${BENTHOS:-benthos}" run "docs/comparison/${CONFIG:-benthos.yaml}"
