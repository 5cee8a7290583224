-- duplicates: one row per record that repeats an earlier one of its facility. `duplicate_of`: the first record with the same bytes; its facts have the
-- same ids, so they stand once in `events`. `control_id_repeats`: an earlier record of the same kind has the same control id and other bytes, which is
-- no proof of anything, since senders reuse their numbers. Nothing is dropped for either.
-- Few records share their bytes or their number with another; only those are put in order.
WITH stated AS (
    SELECT topic, "partition", "offset", known_at, facility, digest, format, trigger, control_id, digest_head(digest) AS head,
           text_hash(facility || '|' || format || '|' || COALESCE(trigger, '') || '|' || control_id) AS number
    FROM standing_messages
),
heads AS (SELECT head FROM stated GROUP BY head HAVING count(*) > 1),
numbers AS (SELECT number FROM stated WHERE number IS NOT NULL GROUP BY number HAVING count(*) > 1),
shared AS (
    SELECT s.*
    FROM numbers AS n
    RIGHT JOIN (SELECT s.*, h.head IS NOT NULL AS is_shared FROM heads AS h RIGHT JOIN stated AS s ON s.head = h.head) AS s ON s.number = n.number
    WHERE s.is_shared OR n.number IS NOT NULL
)
SELECT topic, "partition", "offset", known_at, facility, digest, trigger, control_id, duplicate_of, control_id_repeats
FROM (
    SELECT *, CASE WHEN format NOT IN ('tombstone', 'empty') AND row_number() OVER same_bytes > 1
                   THEN first_value(topic || '/' || CAST("partition" AS VARCHAR) || '/' || CAST("offset" AS VARCHAR)) OVER same_bytes END AS duplicate_of,
           control_id IS NOT NULL AND first_value(digest) OVER same_number <> digest AS control_id_repeats
    FROM shared
    WINDOW same_bytes AS (PARTITION BY facility, digest ORDER BY known_at, topic, "partition", "offset"),
           same_number AS (PARTITION BY facility, format, trigger, control_id ORDER BY known_at, topic, "partition", "offset")
) AS marked
WHERE duplicate_of IS NOT NULL OR control_id_repeats
