-- attrition: one row per (task, step): how many stays came, left and why. A stay leaves at the first step that holds of it; what left, what is not
-- mature, what has no note and the examples add up to the stays. Steps that show a fault of the task's query are there where they happen.
WITH counted AS (
    SELECT task, COALESCE(excluded_because, CASE WHEN value IS NULL THEN 'not mature' WHEN note_id IS NULL THEN 'no prompt note' ELSE 'examples' END) AS reason,
           count(*) AS encounters
    FROM labels GROUP BY 1, 2
),
whole AS (SELECT task, sum(encounters) AS encounters FROM counted GROUP BY task)
SELECT s.task, s.step, s.reason, CASE WHEN s.step = 1 THEN w.encounters ELSE COALESCE(c.encounters, 0) END AS encounters
FROM task_steps AS s
JOIN whole AS w ON w.task = s.task
LEFT JOIN counted AS c ON c.task = s.task AND c.reason = s.reason
WHERE s.effect IN ('stays', 'excluded', 'left') OR (s.effect = 'fault' AND c.encounters > 0)
