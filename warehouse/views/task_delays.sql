-- task_delays: one row per (task, facility): the reporting delay that its labels wait for, the longest of the facts that decide it.
SELECT task, facility, max(delay_days) AS delay_days, CAST(CAST(max(delay_days) AS VARCHAR) || ' days' AS INTERVAL) AS delay
FROM reporting_delays GROUP BY task, facility
