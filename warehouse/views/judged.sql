-- judged: one row per (task, stay, model) that was predicted live from its prompt note, with the label where it is mature.
-- A prediction that was published twice counts once; one that was taken back does not count.
SELECT l.task, l.encounter_id, l.facility, p.model_version, date_trunc('month', l.prediction_at) AS month, l.label, l.mature_at, p.probabilities, p.probability
FROM labels AS l
JOIN (
    SELECT *, row_number() OVER (PARTITION BY task, note_version_id, model_version ORDER BY predicted_at, known_at, source_partition, source_offset) AS copy
    FROM prediction_rows
    WHERE retracts IS NULL AND mode = 'live'
) AS p ON p.task = l.task AND p.note_version_id = l.note_version_id
WHERE l.excluded_because IS NULL AND p.copy = 1
  AND NOT EXISTS (SELECT 1 FROM prediction_rows AS r WHERE r.retracts = p.prediction_id)
