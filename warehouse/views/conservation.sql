-- conservation: one row per (table, topic, partition): every offset between the first and the last is there, once.
-- Tables that hold no row a record answer for the records of which they must hold one.
SELECT 'messages' AS "table", topic, "partition", min("offset") AS first_offset, max("offset") AS last_offset, count(*) AS landed,
       max("offset") - min("offset") + 1 - count(DISTINCT "offset") AS missing, count(*) - count(DISTINCT "offset") AS doubled
FROM message_rows GROUP BY topic, "partition"
UNION ALL
SELECT 'events' AS "table", source_topic AS topic, source_partition AS "partition", min(source_offset) AS first_offset, max(source_offset) AS last_offset,
       count(*) AS landed, 0 AS missing, count(*) - count(DISTINCT event_id || '@' || CAST(source_offset AS VARCHAR)) AS doubled
FROM event_rows GROUP BY source_topic, source_partition
UNION ALL
SELECT 'predictions' AS "table", m.topic, m."partition", min(m."offset") AS first_offset, max(m."offset") AS last_offset, count(p.source_offset) AS landed,
       count(*) - count(DISTINCT p.source_offset) AS missing, count(p.source_offset) - count(DISTINCT p.source_offset) AS doubled
FROM message_rows AS m LEFT JOIN prediction_rows AS p ON p.source_topic = m.topic AND p.source_partition = m."partition" AND p.source_offset = m."offset"
WHERE m.topic = 'prediction.v1' AND m.outcome = 'mapped' GROUP BY m.topic, m."partition"
