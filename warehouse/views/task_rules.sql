-- task_rules: one row per task: the kind of note that is read, from when its horizon counts, and after how long its labels are mature for everyone:
-- horizon and the longest reporting delay of any facility. `classes` is NULL where the target is a number, in `unit`.
SELECT d.task, d.kind, d.clock, CAST(CAST(d.horizon_days + COALESCE(w.delay_days, f.delay_days) AS VARCHAR) || ' days' AS INTERVAL) AS mature_after,
       CAST(CAST(d.horizon_days AS VARCHAR) || ' days' AS INTERVAL) AS horizon, d.horizon_days, COALESCE(w.delay_days, f.delay_days) AS delay_days,
       d.classes, d.unit, d.title
FROM task_definitions AS d
JOIN (SELECT task, max(at_least_days) AS delay_days FROM task_facts GROUP BY task) AS f ON f.task = d.task
LEFT JOIN (SELECT task, max(delay_days) AS delay_days FROM task_delays GROUP BY task) AS w ON w.task = d.task
