-- merged_stays: one row per visit that was told to go on under another number (merged, renumbered, a part of a whole), and the visit that it goes on as,
-- however long the chain. As for patients, the newest merge counts, and in a circle its survivor stands.
WITH edges AS (
    SELECT encounter_identity(facility, related) AS prior, encounter_id AS survivor, max(COALESCE(asserted_at, known_at)) AS merged_at
    FROM standing_events
    WHERE code = 'encounter.merged' AND related IS NOT NULL AND encounter_id IS NOT NULL
    GROUP BY 1, 2
),
resolved AS (
    SELECT unnest(merge_roots(array_agg(named_struct('prior', prior, 'survivor', survivor, 'at', CAST(merged_at AS BIGINT))))) AS merge
    FROM edges
)
SELECT merge['patient_id'] AS encounter_id, merge['survivor_id'] AS survivor_id
FROM resolved
WHERE merge IS NOT NULL
