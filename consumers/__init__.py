"""The Kafka shell: reads records, calls the use cases, settles offsets. No rule lives here."""
