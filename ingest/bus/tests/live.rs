//! The bus against a real Kafka.
