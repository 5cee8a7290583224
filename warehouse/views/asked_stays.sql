-- asked_stays: one row per (task, stay), before anybody waits for anything: what is asked of which note, what came to be, when the horizon is over, and why the
-- stay is left out. `labels` are these once they are mature.
-- The side that is small or kept stands first in each join: the engine builds its table of that one.
WITH asked_of AS (
    SELECT d.task, d.kind, d.classes, d.clock, CAST(CAST(d.horizon_days AS VARCHAR) || ' days' AS INTERVAL) AS horizon,
           c.encounter_id, c.patient_id, c.facility, c.admitted_at, c.discharged_at, c.gone_because
    FROM task_definitions AS d CROSS JOIN cohort AS c
),
answered AS (
    SELECT s.*, o.encounter_id AS answered_id, o.outcome, o.outcome_at, o.excluded_because, o.waits, o.copies
    FROM task_outcomes AS o RIGHT JOIN asked_of AS s ON o.task = s.task AND o.encounter_id = s.encounter_id
)
SELECT a.task, a.classes, a.encounter_id, a.patient_id, a.facility, a.gone_because, p.note_id, p.note_version_id, p.prediction_at,
       a.outcome, a.outcome_at, COALESCE(a.waits, false) AND a.gone_because IS NULL AS waits,
       CASE a.clock WHEN 'discharge' THEN a.discharged_at WHEN 'prediction' THEN p.prediction_at ELSE a.admitted_at END + a.horizon AS horizon_at,
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
