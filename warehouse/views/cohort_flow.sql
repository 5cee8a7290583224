-- cohort_flow: one row per (task, month of admission, step): `attrition` month by month. A step at which nobody left in a month has no row.
-- What is small stands first in each join: the engine builds its table of that one.
WITH stepped AS (
    SELECT s.task, s.step, s.reason, l.encounter_id
    FROM task_steps AS s
    JOIN labels AS l ON l.task = s.task
        AND s.reason = COALESCE(l.excluded_because, CASE WHEN l.value IS NULL THEN 'not mature' WHEN l.note_id IS NULL THEN 'no prompt note' ELSE 'examples' END)
)
SELECT l.task, date_trunc('month', c.admitted_at) AS month, l.step, l.reason, count(*) AS encounters
FROM cohort AS c JOIN stepped AS l ON l.encounter_id = c.encounter_id
GROUP BY 1, 2, 3, 4
