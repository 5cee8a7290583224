-- examples: one row per (task, stay) that is labelled and has a note to read. `fold` is drawn by a hash of the patient, or of the note where the task's
-- rule says so, whatever the period; merged patients have the survivor's. `period`: `main`, or the temporal test in whose time the prediction lies. `split` is
-- NULL outside the configured periods and, by patient, for patients of the training split in a temporal test; by note they stay, and
-- `patient_in_train` (the patient has an example in the training split) is the paper's control. `value` is the outcome as a number; a task whose target
-- is a number has no `label`. `joint_fold` and `joint_split` are for whoever learns all tasks together: of what their rules draw for a patient the fold that
-- is farthest from training holds for all of them, and whom one of them trains on is in no temporal test of another (of notes the same, where every rule goes by note);
-- `patient_in_joint_train` is the control. What is small stands first in each join: the engine builds its table of that one.
WITH ruled AS (
    SELECT t.task, COALESCE(own.task, 'default') AS rule FROM task_definitions AS t LEFT JOIN fold_weights AS own ON own.task = t.task
),
rules AS (
    SELECT DISTINCT w.unit, w.salt, w.train, w.validation, w.train + w.validation + w.test AS shares
    FROM fold_weights AS w JOIN ruled AS r ON r.rule = w.task
),
hashed AS (
    SELECT l.task, l.encounter_id, l.patient_id, l.note_id, l.note_version_id, l.prediction_at, l.label, l.value, r.rule, w.unit, w.train, w.validation,
           w.train + w.validation + w.test AS shares, permille(w.salt || CASE w.unit WHEN 'note' THEN l.note_id ELSE l.patient_id END) AS drawn,
           CASE WHEN j.by_note THEN l.note_id ELSE l.patient_id END AS joint_unit
    FROM (SELECT bool_and(unit = 'note') AS by_note FROM rules) AS j
    CROSS JOIN fold_weights AS w
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
common AS (
    SELECT u.joint_unit,
           max(CASE WHEN permille(r.salt || u.joint_unit) * r.shares < r.train * 1000 THEN 0
                    WHEN permille(r.salt || u.joint_unit) * r.shares < (r.train + r.validation) * 1000 THEN 1 ELSE 2 END) AS farthest
    FROM rules AS r CROSS JOIN (SELECT DISTINCT joint_unit FROM folded) AS u GROUP BY u.joint_unit
),
placed AS (
    SELECT f.*, CASE c.farthest WHEN 0 THEN 'train' WHEN 1 THEN 'validation' ELSE 'test' END AS joint_fold,
           bool_or(COALESCE(f.period = 'main', false) AND c.farthest = 0) OVER (PARTITION BY f.joint_unit) AS unit_in_joint_train
    FROM common AS c RIGHT JOIN folded AS f ON c.joint_unit = f.joint_unit
),
learned AS (
    SELECT task, patient_id, alone, bool_or(jointly) OVER (PARTITION BY patient_id) AS jointly
    FROM (
        SELECT task, patient_id, COALESCE(bool_or(period = 'main' AND fold = 'train'), false) AS alone,
               COALESCE(bool_or(period = 'main' AND joint_fold = 'train'), false) AS jointly
        FROM placed GROUP BY task, patient_id
    ) AS of_tasks
)
SELECT p.task, CASE WHEN p.period = 'main' THEN p.fold WHEN p.unit = 'note' OR NOT COALESCE(k.alone, false) THEN p.period END AS split, p.fold, p.period,
       COALESCE(k.alone, false) AS patient_in_train, p.encounter_id, p.patient_id, p.note_id, p.note_version_id, p.prediction_at, p.label, p.value,
       CASE WHEN p.period = 'main' THEN p.joint_fold WHEN NOT p.unit_in_joint_train THEN p.period END AS joint_split, p.joint_fold, COALESCE(k.jointly, false) AS patient_in_joint_train
FROM learned AS k RIGHT JOIN placed AS p ON k.task = p.task AND k.patient_id = p.patient_id
