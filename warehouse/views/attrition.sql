-- attrition: one row per (task, step): how many stays came, left and why.
SELECT task, 1 AS step, 'stays' AS reason, count(*) AS encounters FROM labels GROUP BY task
UNION ALL
SELECT task, 2 AS step, COALESCE(excluded_because, 'not mature') AS reason, count(*) AS encounters FROM labels WHERE label IS NULL GROUP BY task, excluded_because
UNION ALL
SELECT task, 3 AS step, 'no prompt note' AS reason, count(*) AS encounters FROM labels WHERE label IS NOT NULL AND note_id IS NULL GROUP BY task
UNION ALL
SELECT task, 4 AS step, 'examples' AS reason, count(*) AS encounters FROM labels WHERE label IS NOT NULL AND note_id IS NOT NULL GROUP BY task
