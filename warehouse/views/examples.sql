-- examples: one row per (task, stay) that is labelled and has a note to read. `fold` is the patient's, whatever the period;
-- `split` is NULL outside the configured periods. Temporal tests hold no patient of the training split.
WITH folded AS (
    SELECT l.task, l.encounter_id, l.patient_id, l.note_id, l.note_version_id, l.prediction_at, l.label,
           CASE WHEN permille(l.patient_id) < w.train THEN 'train'
                WHEN permille(l.patient_id) < w.train + w.validation THEN 'validation' ELSE 'test' END AS fold,
           main.task IS NOT NULL AS in_main, temporal.task IS NOT NULL AS in_temporal
    FROM labels AS l
    JOIN fold_weights AS w ON w.task = l.task
    LEFT JOIN split_periods AS main
        ON main.task = l.task AND main.split = 'main' AND l.prediction_at >= main.period_from AND l.prediction_at < main.period_until
    LEFT JOIN split_periods AS temporal
        ON temporal.task = l.task AND temporal.split = 'temporal_test' AND l.prediction_at >= temporal.period_from AND l.prediction_at < temporal.period_until
    WHERE l.label IS NOT NULL AND l.note_id IS NOT NULL
),
learned AS (SELECT DISTINCT task, patient_id FROM folded WHERE in_main AND fold = 'train')
SELECT f.task, CASE WHEN f.in_main THEN f.fold WHEN f.in_temporal AND k.patient_id IS NULL THEN 'temporal_test' END AS split, f.fold,
       f.encounter_id, f.patient_id, f.note_id, f.note_version_id, f.prediction_at, f.label
FROM folded AS f LEFT JOIN learned AS k ON k.task = f.task AND k.patient_id = f.patient_id
