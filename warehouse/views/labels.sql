-- labels: one row per (task, stay). `value` is the outcome and `label` its class, NULL where the task asks for a number; both are NULL until they are mature
-- for everyone, and where the stay is excluded. Mature is what its horizon and the reporting delay have passed for; an outcome that came to be later
-- is known when it is, and a stay that waits (it has not ended) has none yet.
WITH asked AS (
    SELECT r.task, r.classes, c.encounter_id, c.patient_id, c.facility, c.gone_because, w.watermark, p.note_id, p.note_version_id, p.prediction_at,
           o.outcome, o.outcome_at, COALESCE(o.waits, false) AND c.gone_because IS NULL AS waits, r.horizon, d.delay,
           CASE r.clock WHEN 'discharge' THEN c.discharged_at WHEN 'prediction' THEN p.prediction_at ELSE c.admitted_at END AS clock_at,
           CASE WHEN c.gone_because IS NOT NULL THEN c.gone_because
                WHEN o.encounter_id IS NULL THEN 'not_asked'
                WHEN o.copies > 1 THEN 'asked_twice'
                WHEN o.waits THEN NULL
                WHEN o.excluded_because IS NOT NULL THEN o.excluded_because
                WHEN o.outcome IS NULL OR isnan(o.outcome) OR o.outcome_at IS NULL THEN 'no_outcome'
                WHEN r.classes IS NOT NULL AND (o.outcome < 0 OR o.outcome >= r.classes OR o.outcome <> floor(o.outcome)) THEN 'no_such_class'
                WHEN o.outcome_at <= p.prediction_at THEN 'outcome_before_prediction'
                WHEN r.kind = 'admission' AND c.discharged_at <= p.prediction_at THEN 'note_after_discharge'
           END AS because
    FROM cohort AS c
    JOIN watermarks AS w ON w.facility = c.facility
    JOIN task_delays AS d ON d.facility = c.facility
    JOIN task_rules AS r ON r.task = d.task
    LEFT JOIN task_outcomes AS o ON o.task = r.task AND o.encounter_id = c.encounter_id
    LEFT JOIN prompt_notes AS p ON p.encounter_id = c.encounter_id AND p.kind = r.kind
),
matured AS (SELECT *, CASE WHEN clock_at IS NOT NULL THEN greatest(clock_at + horizon + delay, outcome_at) END AS mature_at FROM asked)
SELECT task, encounter_id, patient_id, facility, note_id, note_version_id, prediction_at,
       CASE WHEN because IS NULL AND NOT waits AND mature_at <= watermark AND classes IS NOT NULL THEN CAST(outcome AS INT) END AS label,
       mature_at,
       CASE WHEN gone_because IS NOT NULL OR mature_at <= watermark THEN because END AS excluded_because,
       CASE WHEN because IS NULL AND NOT waits AND mature_at <= watermark THEN outcome END AS value
FROM matured
