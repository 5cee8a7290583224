-- survivors: one row per patient identity that was merged away, and the identity that stands for it now.
-- A merge that a later one turned round (A into B, then B into A) is void; chains are followed sixteen merges deep.
WITH edges AS (
    SELECT patient_identity(facility, related) AS prior, patient_id AS survivor, max(COALESCE(asserted_at, known_at)) AS merged_at
    FROM event_rows
    WHERE code = 'patient.merged' AND related IS NOT NULL AND patient_id IS NOT NULL
    GROUP BY 1, 2
),
standing AS (
    SELECT prior, survivor, row_number() OVER (PARTITION BY prior ORDER BY merged_at DESC, survivor) AS newest
    FROM edges AS e
    WHERE e.prior <> e.survivor
      AND NOT EXISTS (SELECT 1 FROM edges AS back WHERE back.prior = e.survivor AND back.survivor = e.prior AND back.merged_at > e.merged_at)
),
once AS (SELECT prior, survivor FROM standing WHERE newest = 1),
two AS (SELECT a.prior, COALESCE(b.survivor, a.survivor) AS survivor FROM once AS a LEFT JOIN once AS b ON b.prior = a.survivor),
four AS (SELECT a.prior, COALESCE(b.survivor, a.survivor) AS survivor FROM two AS a LEFT JOIN two AS b ON b.prior = a.survivor),
eight AS (SELECT a.prior, COALESCE(b.survivor, a.survivor) AS survivor FROM four AS a LEFT JOIN four AS b ON b.prior = a.survivor)
SELECT a.prior AS patient_id, COALESCE(b.survivor, a.survivor) AS survivor_id
FROM eight AS a LEFT JOIN eight AS b ON b.prior = a.survivor
