-- duplicates: one row per record that repeats an earlier one of its facility. `duplicate_of`: the first record with the same bytes; its facts have the
-- same ids, so they stand once in `events`. `control_id_repeats`: an earlier record of the same kind has the same control id and other bytes, which is
-- no proof of anything, since senders reuse their numbers. Nothing is dropped for either.
SELECT topic, "partition", "offset", known_at, facility, digest, trigger, control_id, duplicate_of, control_id_repeats
FROM (
    SELECT *, CASE WHEN format NOT IN ('tombstone', 'empty') AND row_number() OVER same_bytes > 1
                   THEN first_value(topic || '/' || CAST("partition" AS VARCHAR) || '/' || CAST("offset" AS VARCHAR)) OVER same_bytes END AS duplicate_of,
           control_id IS NOT NULL AND first_value(digest) OVER same_number <> digest AS control_id_repeats
    FROM (SELECT topic, "partition", "offset", known_at, facility, digest, format, trigger, control_id FROM standing_messages) AS keys
    WINDOW same_bytes AS (PARTITION BY facility, digest ORDER BY known_at, topic, "partition", "offset"),
           same_number AS (PARTITION BY facility, format, trigger, control_id ORDER BY known_at, topic, "partition", "offset")
) AS marked
WHERE duplicate_of IS NOT NULL OR control_id_repeats
