"""Kafka: rows are published to topics, and topics are consumed. docs/how-to/kafka.md says what that promises."""
