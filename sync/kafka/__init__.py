"""Kafka: publish rows to topics and consume topics. docs/kafka.md lists the guarantees."""
