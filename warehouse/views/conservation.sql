-- conservation: one row per (table, topic, partition): whether anything is missing or doubled. `messages`: every offset from the first to the last that the
-- table's log says it holds is there, once, or never held a record (`void`: markers of transactions, compaction). What the broker deleted before we
-- read it (`lost`) is missing for ever. `events` and `notes` hold as many rows as their records gave, and `predictions` one
-- for each that was understood; all have come as far as `messages`, which is committed last: rows beyond it are on their way. Of an earlier instant the logs say nothing, and the rows answer for themselves.
-- `parts` numbers what `messages` shows: a topic's name beside each record would take most of the memory.
WITH parts AS (
    SELECT topic, "partition", max("offset") AS upto, row_number() OVER (ORDER BY topic, "partition") AS part
    FROM message_rows GROUP BY topic, "partition"
),
newest AS (
    SELECT p.part AS read_part, m."offset" AS read_offset, max(m.event_count) AS events, max(m.note_count) AS notes,
           max(CASE WHEN split_part(m.topic, '#', 1) = 'prediction.v1' AND m.outcome = 'mapped' THEN 1 ELSE 0 END) AS predictions
    FROM parts AS p JOIN standing_messages AS m ON p.topic = m.topic AND p."partition" = m."partition"
    GROUP BY p.part, m."offset"
),
facts AS (
    SELECT p.part, e.source_offset AS "offset", count(*) AS facts
    FROM parts AS p JOIN standing_events AS e ON p.topic = e.source_topic AND p."partition" = e.source_partition
    GROUP BY p.part, e.source_offset
),
landed AS (
    SELECT 'messages' AS "table", topic, "partition", min("offset") AS first_offset, max("offset") AS last_offset, count(*) AS landed, count(DISTINCT "offset") AS once,
           COALESCE(sum(skipped) FILTER (WHERE skipped_because = 'void'), 0) AS void, COALESCE(sum(skipped) FILTER (WHERE skipped_because = 'deleted'), 0) AS lost
    FROM message_rows WHERE reading <= 0 GROUP BY topic, "partition"
    UNION ALL
    SELECT 'events' AS "table", p.topic, p."partition", min(f."offset") AS first_offset, max(f."offset") AS last_offset,
           sum(f.facts) AS landed, sum(least(f.facts, COALESCE(n.events, 0))) AS once, 0 AS void, 0 AS lost
    FROM newest AS n
    RIGHT JOIN facts AS f ON n.read_part = f.part AND n.read_offset = f."offset"
    JOIN parts AS p ON p.part = f.part
    WHERE f."offset" <= p.upto GROUP BY p.topic, p."partition"
    UNION ALL
    SELECT 'notes' AS "table", source_topic AS topic, source_partition AS "partition", min(source_offset) AS first_offset, max(source_offset) AS last_offset,
           count(*) AS landed, count(*) AS once, 0 AS void, 0 AS lost
    FROM standing_notes JOIN parts ON topic = source_topic AND "partition" = source_partition
    WHERE source_offset <= upto GROUP BY source_topic, source_partition
    UNION ALL
    SELECT 'predictions' AS "table", source_topic AS topic, source_partition AS "partition", min(source_offset) AS first_offset, max(source_offset) AS last_offset,
           count(*) AS landed, count(DISTINCT source_offset) AS once, 0 AS void, 0 AS lost
    FROM prediction_rows JOIN parts ON topic = source_topic AND "partition" = source_partition
    WHERE source_offset <= upto GROUP BY source_topic, source_partition
),
read AS (
    SELECT p.topic, p."partition", sum(n.events) AS events, sum(n.notes) AS notes, sum(n.predictions) AS predictions
    FROM parts AS p JOIN newest AS n ON n.read_part = p.part GROUP BY p.topic, p."partition"
),
given AS (
    SELECT 'events' AS "table", topic, "partition", events AS wanted FROM read
    UNION ALL SELECT 'notes' AS "table", topic, "partition", notes AS wanted FROM read
    UNION ALL SELECT 'predictions' AS "table", topic, "partition", predictions AS wanted FROM read
),
stated AS (
    SELECT t.table_name AS "table", t.topic, t."partition", t.last_offset, m.last_offset AS messages_last
    FROM table_positions AS t
    LEFT JOIN table_positions AS m ON m.table_name = 'messages' AND m.topic = t.topic AND m."partition" = t."partition"
),
joined AS (
    SELECT COALESCE(l."table", s."table") AS "table", COALESCE(l.topic, s.topic) AS topic, COALESCE(l."partition", s."partition") AS "partition",
           l.first_offset, greatest(l.last_offset, s.last_offset) AS last_offset, COALESCE(l.landed, 0) AS landed, COALESCE(l.once, 0) AS once,
           COALESCE(l.void, 0) AS void, COALESCE(l.lost, 0) AS lost, greatest(0, s.messages_last - s.last_offset) AS behind
    FROM landed AS l
    FULL JOIN stated AS s ON s."table" = l."table" AND s.topic = l.topic AND s."partition" = l."partition"
),
counted AS (
    SELECT COALESCE(j."table", g."table") AS "table", COALESCE(j.topic, g.topic) AS topic, COALESCE(j."partition", g."partition") AS "partition",
           j.first_offset, j.last_offset, COALESCE(j.landed, 0) AS landed, COALESCE(j.lost, 0) AS lost, COALESCE(j.void, 0) AS void,
           CASE WHEN j."table" = 'messages' THEN greatest(0, j.last_offset - COALESCE(j.first_offset, 0) + 1 - j.once - j.void)
                ELSE greatest(COALESCE(j.behind, 0), COALESCE(g.wanted, 0) - COALESCE(j.once, 0), 0) END AS missing,
           CASE WHEN j."table" IN ('events', 'notes') THEN greatest(j.landed - j.once, j.landed - COALESCE(g.wanted, 0), 0)
                ELSE COALESCE(j.landed - j.once, 0) END AS doubled
    FROM joined AS j
    FULL JOIN given AS g ON g."table" = j."table" AND g.topic = j.topic AND g."partition" = j."partition"
)
SELECT "table", topic, "partition", first_offset, last_offset, landed, missing, doubled, lost, void
FROM counted WHERE "table" = 'messages' OR landed > 0 OR missing > 0
