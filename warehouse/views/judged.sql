-- judged: one row per (task, stay, model) that was predicted from its prompt note, with the label where it is mature.
SELECT l.task, l.encounter_id, l.facility, p.model_version, date_trunc('month', l.prediction_at) AS month, l.label, l.mature_at, p.probabilities, p.probability
FROM labels AS l
JOIN prediction_rows AS p ON p.task = l.task AND p.note_version_id = l.note_version_id AND p.retracts IS NULL AND p.mode = 'live'
WHERE l.excluded_because IS NULL
