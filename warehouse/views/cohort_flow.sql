-- cohort_flow: one row per (task, month of admission, step): `attrition` month by month. A step at which nobody left in a month has no row.
SELECT l.task, date_trunc('month', c.admitted_at) AS month, s.step, s.reason, count(*) AS encounters
FROM labels AS l
JOIN cohort AS c ON c.encounter_id = l.encounter_id
JOIN task_steps AS s ON s.task = l.task
    AND s.reason = COALESCE(l.excluded_because, CASE WHEN l.value IS NULL THEN 'not mature' WHEN l.note_id IS NULL THEN 'no prompt note' ELSE 'examples' END)
GROUP BY 1, 2, 3, 4
