-- standing_messages: one row per record, as its newest reading has it. A replay's reading holds neither bytes nor headers: those are the record's own.
WITH newest AS (
    SELECT topic, "partition", "offset", format, trigger, control_id, outcome, reject_stage, reject_position, reject_reason, rejects, flags, charset,
           event_count, note_count, parser_version, rows_digest, rows_reading, reading,
           row_number() OVER (PARTITION BY topic, "partition", "offset" ORDER BY reading DESC) AS age
    FROM message_rows WHERE reading > 0
)
SELECT m.topic, m."partition", m."offset", m.known_at, m.key, m.headers, m.payload, m.digest, m.facility, m.skipped, m.skipped_because,
       CASE WHEN n.reading IS NULL THEN m.format ELSE n.format END AS format,
       CASE WHEN n.reading IS NULL THEN m.trigger ELSE n.trigger END AS trigger,
       CASE WHEN n.reading IS NULL THEN m.control_id ELSE n.control_id END AS control_id,
       CASE WHEN n.reading IS NULL THEN m.outcome ELSE n.outcome END AS outcome,
       CASE WHEN n.reading IS NULL THEN m.reject_stage ELSE n.reject_stage END AS reject_stage,
       CASE WHEN n.reading IS NULL THEN m.reject_position ELSE n.reject_position END AS reject_position,
       CASE WHEN n.reading IS NULL THEN m.reject_reason ELSE n.reject_reason END AS reject_reason,
       CASE WHEN n.reading IS NULL THEN m.rejects ELSE n.rejects END AS rejects,
       CASE WHEN n.reading IS NULL THEN m.flags ELSE n.flags END AS flags,
       CASE WHEN n.reading IS NULL THEN m.charset ELSE n.charset END AS charset,
       CASE WHEN n.reading IS NULL THEN m.event_count ELSE n.event_count END AS event_count,
       CASE WHEN n.reading IS NULL THEN m.note_count ELSE n.note_count END AS note_count,
       CASE WHEN n.reading IS NULL THEN m.parser_version ELSE n.parser_version END AS parser_version,
       CASE WHEN n.reading IS NULL THEN m.rows_digest ELSE n.rows_digest END AS rows_digest,
       COALESCE(n.rows_reading, m.rows_reading) AS rows_reading,
       COALESCE(n.reading, m.reading) AS reading
FROM message_rows AS m
LEFT JOIN newest AS n ON n.topic = m.topic AND n."partition" = m."partition" AND n."offset" = m."offset" AND n.age = 1
WHERE m.reading <= 0
