-- reporting_lags: one row per (facility, kind of fact): within how many days facts of the last two years became known, the last thirty days left out, of which
-- only the quick ones are known yet. `lag_days`: what 99 of 100 did not exceed, in whole days.
-- Days are few, so that facts are counted by them and not put in order.
WITH looked_at AS (SELECT facility, watermark - INTERVAL '730 days' AS since, watermark - INTERVAL '30 days' AS until FROM watermarks),
lagged AS (
    SELECT s.facility, s.fact, (greatest(0, to_unixtime(s.known_at) - to_unixtime(s.own_at)) + 86399) / 86400 AS days
    FROM looked_at AS l JOIN reported_facts AS s ON s.facility = l.facility
    WHERE s.own_at > l.since AND s.own_at <= l.until
),
counted AS (SELECT facility, fact, days, count(*) AS n FROM lagged GROUP BY facility, fact, days),
ranked AS (
    SELECT facility, fact, days, sum(n) OVER (PARTITION BY facility, fact ORDER BY days) AS upto, sum(n) OVER (PARTITION BY facility, fact) AS n FROM counted
)
SELECT facility, fact, max(n) AS n, min(days) FILTER (WHERE upto >= n * 0.5) AS median_days, min(days) FILTER (WHERE upto >= n * 0.99) AS lag_days
FROM ranked GROUP BY facility, fact
