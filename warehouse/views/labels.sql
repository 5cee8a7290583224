-- labels: one row per (task, stay): what came of it, once that is mature. `value` is the outcome and `label` its class, NULL where the task asks for a number;
-- both are NULL until they are mature for everyone, and where the stay is excluded. Mature is what the reporting delay has passed for since its horizon and the stay were over; an
-- outcome that came to be later is known when it is, and a stay that waits (it has not ended, a claim for it is not decided) has none yet.
WITH matured AS (
    SELECT a.*, w.watermark, CASE WHEN a.over_at IS NOT NULL THEN greatest(a.over_at + d.delay, a.outcome_at) END AS mature_at
    FROM task_delays AS d
    JOIN watermarks AS w ON w.facility = d.facility
    JOIN asked_stays AS a ON a.task = d.task AND a.facility = d.facility
)
SELECT task, encounter_id, patient_id, facility, note_id, note_version_id, prediction_at,
       CASE WHEN because IS NULL AND NOT waits AND mature_at <= watermark AND classes IS NOT NULL THEN CAST(outcome AS INT) END AS label,
       mature_at,
       CASE WHEN gone_because IS NOT NULL OR mature_at <= watermark THEN because END AS excluded_because,
       CASE WHEN because IS NULL AND NOT waits AND mature_at <= watermark THEN outcome END AS value
FROM matured
