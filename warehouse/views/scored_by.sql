-- scored_by: one row per prediction that was published: which version scored whom, when, from which note, and whether that still stands.
SELECT p.patient_id, p.encounter_id, p.task, p.predicted_at, p.model_version, p.dataset_id, p.mode, p.note_id, p.note_version_id, p.probability, p.decision,
       CASE WHEN p.retracted THEN 'retracted' WHEN f.prediction_id IS NOT NULL THEN 'superseded' ELSE 'stands' END AS standing,
       p.prediction_id, p.known_at, p.source_topic, p.source_partition, p.source_offset
FROM predictions AS p
LEFT JOIN (SELECT prediction_id FROM fallen_predictions WHERE because = 'superseded') AS f ON f.prediction_id = p.prediction_id
WHERE p.retracts IS NULL
