-- copies: one row per record whose facts another record with the same bytes gives. Facts have ids by facility, bytes and place, so that they are the same facts:
-- of such records the one stands whose reading is the newest, then the one that gave most facts, then the first.
WITH stated AS (
    SELECT topic, "partition", "offset", known_at, facility, digest, digest_head(digest) AS head, greatest(rows_reading, 0) AS rows_reading, event_count
    FROM standing_messages WHERE event_count > 0
),
-- Few records repeat another, and the heads of digests that do are found in a small part of the time and memory that ranking all of them takes.
repeated AS (SELECT head FROM stated GROUP BY head HAVING count(*) > 1)
SELECT topic, "partition", "offset"
FROM (
    SELECT s.*, row_number() OVER (PARTITION BY s.facility, s.digest
                                   ORDER BY s.rows_reading DESC, s.event_count DESC, s.known_at, s.topic, s."partition", s."offset") AS copy
    FROM repeated AS r JOIN stated AS s ON s.head = r.head
) AS ranked
WHERE copy > 1
