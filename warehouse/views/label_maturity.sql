-- label_maturity: one row per (task, month of the stay's clock): how many stays are mature, how many are not, and when the last of them will be.
-- `waiting` stays have no outcome yet, however much time has passed: they have not ended. Stays that were taken back are left out.
SELECT l.task, date_trunc('month', CASE r.clock WHEN 'discharge' THEN c.discharged_at WHEN 'prediction' THEN l.prediction_at ELSE c.admitted_at END) AS month,
       count(*) AS stays, count(l.value) AS labelled, count(l.excluded_because) AS excluded,
       count(*) FILTER (WHERE l.value IS NULL AND l.excluded_because IS NULL AND l.mature_at > w.watermark) AS immature,
       count(*) FILTER (WHERE l.value IS NULL AND l.excluded_because IS NULL AND (l.mature_at IS NULL OR l.mature_at <= w.watermark)) AS waiting,
       max(l.mature_at) AS all_mature_at
FROM labels AS l
JOIN task_rules AS r ON r.task = l.task
JOIN cohort AS c ON c.encounter_id = l.encounter_id
JOIN watermarks AS w ON w.facility = l.facility
WHERE c.gone_because IS NULL
GROUP BY 1, 2
