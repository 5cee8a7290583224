-- conservation: one row per (table, topic, partition). `messages`: every offset from the first to the last that the table's log
-- says it holds is there, once. Tables that hold no row a record must have come as far as `messages`, and `predictions` holds one
-- for each that was understood. Of an earlier instant the logs say nothing, and the rows answer for themselves.
WITH landed AS (
    SELECT 'messages' AS "table", topic, "partition", min("offset") AS first_offset, max("offset") AS last_offset, count(*) AS landed, count(DISTINCT "offset") AS once
    FROM message_rows GROUP BY topic, "partition"
    UNION ALL
    SELECT 'events' AS "table", source_topic AS topic, source_partition AS "partition", min(source_offset) AS first_offset, max(source_offset) AS last_offset,
           count(*) AS landed, count(DISTINCT event_id || '@' || CAST(source_offset AS VARCHAR)) AS once
    FROM event_rows GROUP BY source_topic, source_partition
    UNION ALL
    SELECT 'notes' AS "table", source_topic AS topic, source_partition AS "partition", min(source_offset) AS first_offset, max(source_offset) AS last_offset,
           count(*) AS landed, count(*) AS once
    FROM note_rows GROUP BY source_topic, source_partition
    UNION ALL
    SELECT 'predictions' AS "table", source_topic AS topic, source_partition AS "partition", min(source_offset) AS first_offset, max(source_offset) AS last_offset,
           count(*) AS landed, count(DISTINCT source_offset) AS once
    FROM prediction_rows GROUP BY source_topic, source_partition
),
understood AS (
    SELECT 'predictions' AS "table", topic, "partition", count(DISTINCT "offset") AS wanted
    FROM message_rows WHERE topic = 'prediction.v1' AND outcome = 'mapped' GROUP BY topic, "partition"
),
stated AS (
    SELECT t.table_name AS "table", t.topic, t."partition", t.last_offset, m.last_offset AS messages_last
    FROM table_positions AS t
    LEFT JOIN table_positions AS m ON m.table_name = 'messages' AND m.topic = t.topic AND m."partition" = t."partition"
),
joined AS (
    SELECT COALESCE(l."table", s."table") AS "table", COALESCE(l.topic, s.topic) AS topic, COALESCE(l."partition", s."partition") AS "partition",
           l.first_offset, greatest(l.last_offset, s.last_offset) AS last_offset, COALESCE(l.landed, 0) AS landed, COALESCE(l.once, 0) AS once,
           greatest(0, s.messages_last - s.last_offset) AS behind
    FROM landed AS l
    FULL JOIN stated AS s ON s."table" = l."table" AND s.topic = l.topic AND s."partition" = l."partition"
),
counted AS (
    SELECT j."table", j.topic, j."partition", j.first_offset, j.last_offset, j.landed,
           CASE WHEN j."table" = 'messages' THEN j.last_offset - COALESCE(j.first_offset, 0) + 1 - j.once
                ELSE COALESCE(j.behind, 0) + greatest(0, COALESCE(u.wanted - j.once, 0)) END AS missing,
           j.landed - j.once AS doubled
    FROM joined AS j
    LEFT JOIN understood AS u ON u."table" = j."table" AND u.topic = j.topic AND u."partition" = j."partition"
)
SELECT "table", topic, "partition", first_offset, last_offset, landed, missing, doubled
FROM counted WHERE "table" = 'messages' OR landed > 0 OR missing > 0
