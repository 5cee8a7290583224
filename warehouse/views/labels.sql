-- labels: one row per (task, stay). `value` is the outcome and `label` its class, NULL where the task asks for a number; both are NULL until they are mature
-- for everyone, and where the stay is excluded. Mature is what its horizon and the reporting delay have passed for; an outcome that came to be later
-- is known when it is, and a stay that waits (it has not ended) has none yet.
-- The side that is small or kept stands first in each join: the engine builds its table of that one.
WITH asked_of AS (
    SELECT r.task, r.kind, r.classes, r.clock, r.horizon, d.delay, w.watermark,
           c.encounter_id, c.patient_id, c.facility, c.admitted_at, c.discharged_at, c.gone_because
    FROM task_rules AS r
    JOIN task_delays AS d ON d.task = r.task
    JOIN watermarks AS w ON w.facility = d.facility
    JOIN cohort AS c ON c.facility = w.facility
),
answered AS (
    SELECT s.*, o.encounter_id AS answered_id, o.outcome, o.outcome_at, o.excluded_because, o.waits, o.copies
    FROM task_outcomes AS o RIGHT JOIN asked_of AS s ON o.task = s.task AND o.encounter_id = s.encounter_id
),
asked AS (
    SELECT a.task, a.classes, a.encounter_id, a.patient_id, a.facility, a.gone_because, a.watermark, p.note_id, p.note_version_id, p.prediction_at,
           a.outcome, a.outcome_at, COALESCE(a.waits, false) AND a.gone_because IS NULL AS waits, a.horizon, a.delay,
           CASE a.clock WHEN 'discharge' THEN a.discharged_at WHEN 'prediction' THEN p.prediction_at ELSE a.admitted_at END AS clock_at,
           CASE WHEN a.gone_because IS NOT NULL THEN a.gone_because
                WHEN a.answered_id IS NULL THEN 'not_asked'
                WHEN a.copies > 1 THEN 'asked_twice'
                WHEN a.waits THEN NULL
                WHEN a.excluded_because IS NOT NULL THEN a.excluded_because
                WHEN a.outcome IS NULL OR isnan(a.outcome) OR a.outcome_at IS NULL THEN 'no_outcome'
                WHEN a.classes IS NOT NULL AND (a.outcome < 0 OR a.outcome >= a.classes OR a.outcome <> floor(a.outcome)) THEN 'no_such_class'
                WHEN a.outcome_at <= p.prediction_at THEN 'outcome_before_prediction'
                WHEN a.kind = 'admission' AND a.discharged_at <= p.prediction_at THEN 'note_after_discharge'
           END AS because
    FROM prompt_notes AS p RIGHT JOIN answered AS a ON p.encounter_id = a.encounter_id AND p.kind = a.kind
),
matured AS (SELECT *, CASE WHEN clock_at IS NOT NULL THEN greatest(clock_at + horizon + delay, outcome_at) END AS mature_at FROM asked)
SELECT task, encounter_id, patient_id, facility, note_id, note_version_id, prediction_at,
       CASE WHEN because IS NULL AND NOT waits AND mature_at <= watermark AND classes IS NOT NULL THEN CAST(outcome AS INT) END AS label,
       mature_at,
       CASE WHEN gone_because IS NOT NULL OR mature_at <= watermark THEN because END AS excluded_because,
       CASE WHEN because IS NULL AND NOT waits AND mature_at <= watermark THEN outcome END AS value
FROM matured
