-- predictions: one row per published prediction or retraction; a repeat on the topic counts once. Stay and patient are those of the note by now, whatever they were
-- when it was read: a note that was sent under a wrong name, and again under the right one with the same words, is not answered twice. `retracted`: it was taken
-- back since, and not said again, or its stay no longer stands (cancelled, deleted, made an outpatient's): should that be taken back, it stands again.
SELECT p.prediction_id, p.task, p.stay_id AS encounter_id, COALESCE(c.patient_id, s.survivor_id, p.patient_id) AS patient_id,
       p.note_id, p.note_version_id, p.predicted_at, p.model_version, p.dataset_id, p.probabilities, p.probability, p.threshold, p.decision, p.mode,
       p.tokens_read, p.truncated, p.supersedes, p.retracts,
       f.prediction_id IS NOT NULL OR (c.gone_because IS NOT NULL AND p.retracts IS NULL) AS retracted, p.known_at, p.source_topic, p.source_partition, p.source_offset
FROM (
    SELECT k.*, CASE WHEN n.note_id IS NOT NULL THEN n.encounter_id ELSE k.encounter_id END AS stay_id
    FROM (
        SELECT *, row_number() OVER (PARTITION BY prediction_id ORDER BY known_at, source_partition, source_offset) AS copy FROM prediction_rows
    ) AS k
    LEFT JOIN note_places AS n ON n.note_id = k.note_id
    WHERE k.copy = 1
) AS p
LEFT JOIN (SELECT prediction_id FROM fallen_predictions WHERE because = 'retracted') AS f ON f.prediction_id = p.prediction_id
LEFT JOIN cohort AS c ON c.encounter_id = p.stay_id
LEFT JOIN survivors AS s ON s.patient_id = p.patient_id
