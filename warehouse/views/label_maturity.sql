-- label_maturity: one row per (task, month of the stay's clock): how many stays are mature, how many are not, and when the last of them will be.
-- `waiting` stays have no outcome yet, however much time has passed: they have not ended, or a claim for them is not decided. Stays that were taken back are left out.
-- What is small stands first in each join: the engine builds its table of that one.
WITH watched AS (
    SELECT l.task, l.encounter_id, l.prediction_at, l.value, l.excluded_because, l.mature_at, w.watermark
    FROM watermarks AS w JOIN labels AS l ON l.facility = w.facility
),
timed AS (SELECT l.*, r.clock FROM task_rules AS r JOIN watched AS l ON l.task = r.task)
SELECT l.task, date_trunc('month', CASE l.clock WHEN 'discharge' THEN c.discharged_at WHEN 'prediction' THEN l.prediction_at ELSE c.admitted_at END) AS month,
       count(*) AS stays, count(l.value) AS labelled, count(l.excluded_because) AS excluded,
       count(*) FILTER (WHERE l.value IS NULL AND l.excluded_because IS NULL AND l.mature_at > l.watermark) AS immature,
       count(*) FILTER (WHERE l.value IS NULL AND l.excluded_because IS NULL AND (l.mature_at IS NULL OR l.mature_at <= l.watermark)) AS waiting,
       max(l.mature_at) AS all_mature_at
FROM cohort AS c JOIN timed AS l ON l.encounter_id = c.encounter_id
WHERE c.gone_because IS NULL
GROUP BY 1, 2
