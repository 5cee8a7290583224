-- examples: one row per (task, stay) that is labelled and has a note to read. `fold` is drawn by a hash of the patient, or of the note where the task's
-- rule says so, whatever the period; merged patients have the survivor's. `period`: `main`, or the temporal test in whose time the prediction lies. `split` is
-- NULL outside the configured periods and, by patient, for patients of the training split in a temporal test; by note they stay, and
-- `patient_in_train` (the patient has an example in the training split) is the paper's control. `value` is the outcome as a number; a task whose target
-- is a number has no `label`. What is small stands first in each join: the engine builds its table of that one.
WITH ruled AS (
    SELECT t.task, COALESCE(own.task, 'default') AS rule
    FROM (SELECT DISTINCT task FROM labels) AS t LEFT JOIN fold_weights AS own ON own.task = t.task
),
hashed AS (
    SELECT l.task, l.encounter_id, l.patient_id, l.note_id, l.note_version_id, l.prediction_at, l.label, l.value, r.rule, w.unit, w.train, w.validation,
           w.train + w.validation + w.test AS shares, permille(w.salt || CASE w.unit WHEN 'note' THEN l.note_id ELSE l.patient_id END) AS drawn
    FROM fold_weights AS w
    JOIN ruled AS r ON r.rule = w.task
    JOIN labels AS l ON l.task = r.task
    WHERE l.value IS NOT NULL AND l.note_id IS NOT NULL
),
folded AS (
    SELECT h.*, p.split AS period,
           CASE WHEN h.drawn * h.shares < h.train * 1000 THEN 'train'
                WHEN h.drawn * h.shares < (h.train + h.validation) * 1000 THEN 'validation' ELSE 'test' END AS fold
    FROM split_periods AS p
    RIGHT JOIN hashed AS h ON p.task = h.rule AND h.prediction_at >= p.period_from AND h.prediction_at < p.period_until
),
learned AS (SELECT DISTINCT task, patient_id FROM folded WHERE period = 'main' AND fold = 'train')
SELECT f.task, CASE WHEN f.period = 'main' THEN f.fold WHEN f.unit = 'note' OR k.patient_id IS NULL THEN f.period END AS split, f.fold, f.period,
       k.patient_id IS NOT NULL AS patient_in_train, f.encounter_id, f.patient_id, f.note_id, f.note_version_id, f.prediction_at, f.label, f.value
FROM learned AS k RIGHT JOIN folded AS f ON k.task = f.task AND k.patient_id = f.patient_id
