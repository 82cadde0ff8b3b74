"""Kafka: rows are published to topics, and topics are consumed. docs/kafka.md says what that promises."""
