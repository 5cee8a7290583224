-- messages: one row per Kafka record, with its exact bytes and its newest reading. `duplicates` marks those that repeat an earlier one.
SELECT topic, "partition", "offset", known_at, key, headers, payload, digest, format, trigger, control_id, facility, outcome,
       reject_stage, reject_position, reject_reason, rejects, flags, charset, event_count, note_count, skipped, skipped_because, parser_version, reading
FROM standing_messages
