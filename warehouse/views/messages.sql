-- messages: one row per Kafka record, with its exact bytes and its newest reading. Repeats are marked, not dropped: `duplicate_of` is the first
-- record of the facility with the same bytes; `control_id_repeats`: an earlier one has the same control id and trigger but other bytes,
-- which is no proof of anything, since senders reuse their numbers.
SELECT topic, "partition", "offset", known_at, key, headers, payload, digest, format, trigger, control_id, facility, outcome,
       reject_stage, reject_position, reject_reason, rejects, flags, charset, event_count, note_count, skipped, skipped_because,
       CASE WHEN format NOT IN ('tombstone', 'empty') AND row_number() OVER same_bytes > 1 THEN first_value(topic || '/' || CAST("partition" AS VARCHAR) || '/' || CAST("offset" AS VARCHAR)) OVER same_bytes END AS duplicate_of,
       control_id IS NOT NULL AND first_value(digest) OVER same_number <> digest AS control_id_repeats,
       parser_version, reading
FROM standing_messages
WINDOW same_bytes AS (PARTITION BY facility, digest ORDER BY known_at, topic, "partition", "offset"),
       same_number AS (PARTITION BY facility, format, trigger, control_id ORDER BY known_at, topic, "partition", "offset")
