-- messages: one row per Kafka record, with its exact bytes.
SELECT topic, "partition", "offset", known_at, key, headers, payload, digest, format, trigger, control_id, facility, outcome,
       reject_stage, reject_position, reject_reason, rejects, parser_version
FROM message_rows
