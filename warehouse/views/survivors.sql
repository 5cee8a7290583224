-- survivors: one row per patient identity that was merged away, and the identity that stands for it now, however long the chain.
-- Of several merges of one identity the newest counts. Where merges run in a circle the newest of them counts, and its survivor stands.
WITH edges AS (
    SELECT patient_identity(facility, related) AS prior, patient_id AS survivor, max(COALESCE(asserted_at, known_at)) AS merged_at
    FROM standing_events
    WHERE code = 'patient.merged' AND related IS NOT NULL AND patient_id IS NOT NULL
    GROUP BY 1, 2
),
resolved AS (
    SELECT unnest(merge_roots(array_agg(prior ORDER BY merged_at, prior, survivor), array_agg(survivor ORDER BY merged_at, prior, survivor))) AS merge
    FROM edges
)
SELECT merge['patient_id'] AS patient_id, merge['survivor_id'] AS survivor_id
FROM resolved
WHERE merge IS NOT NULL
