-- predictions: one row per published prediction or retraction; a repeat on the topic counts once. `retracted`: it was taken back since, and not said again, or
-- its stay no longer stands (cancelled, deleted, made an outpatient's): should that be taken back, it stands again.
SELECT p.prediction_id, p.task, COALESCE(n.encounter_id, p.encounter_id) AS encounter_id, COALESCE(s.survivor_id, p.patient_id) AS patient_id,
       p.note_id, p.note_version_id, p.predicted_at, p.model_version, p.dataset_id, p.probabilities, p.probability, p.threshold, p.decision, p.mode,
       p.tokens_read, p.truncated, p.supersedes, p.retracts,
       f.prediction_id IS NOT NULL OR (g.encounter_id IS NOT NULL AND p.retracts IS NULL) AS retracted, p.known_at, p.source_topic, p.source_partition, p.source_offset
FROM (
    SELECT *, row_number() OVER (PARTITION BY prediction_id ORDER BY known_at, source_partition, source_offset) AS copy FROM prediction_rows
) AS p
LEFT JOIN note_places AS n ON n.note_id = p.note_id
LEFT JOIN (SELECT prediction_id FROM fallen_predictions WHERE because = 'retracted') AS f ON f.prediction_id = p.prediction_id
LEFT JOIN (SELECT encounter_id FROM cohort WHERE gone_because IS NOT NULL) AS g ON g.encounter_id = COALESCE(n.encounter_id, p.encounter_id)
LEFT JOIN survivors AS s ON s.patient_id = p.patient_id
WHERE p.copy = 1
