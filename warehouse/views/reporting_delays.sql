-- reporting_delays: one row per (task, facility, kind of fact that decides it): how long reporting is waited for. The configured days are the floor; what was
-- measured counts from 100 facts on, and up to the task's limit.
SELECT f.task, w.facility, f.fact, COALESCE(l.n, 0) AS n, f.at_least_days AS configured_days, l.lag_days AS measured_days, f.at_most_days,
       CASE WHEN l.n >= 100 THEN greatest(f.at_least_days, least(f.at_most_days, l.lag_days)) ELSE f.at_least_days END AS delay_days
FROM task_facts AS f CROSS JOIN watermarks AS w
LEFT JOIN reporting_lags AS l ON l.facility = w.facility AND l.fact = f.fact
