-- shifts: one row per (task, model, measure, month): the population stability index of the month against the twelve before it.
-- Added up as decimals, so that it is the same in whatever order its parts come.
-- `noise`: what chance alone exceeds once in some three million times (chi-squared over the sizes, after Wilson and Hilferty).
WITH months AS (SELECT DISTINCT task, model_version, measure, facility, month FROM population),
beside AS (
    SELECT task, model_version, measure, facility, month, bin, n AS seen, 0 AS expected FROM population
    UNION ALL
    SELECT m.task, m.model_version, m.measure, m.facility, m.month, p.bin, 0 AS seen, p.n AS expected
    FROM months AS m
    JOIN population AS p ON p.task = m.task AND p.model_version = m.model_version AND p.measure = m.measure
    WHERE p.month < m.month AND p.month >= m.month - INTERVAL '12 months'
),
binned AS (
    SELECT task, model_version, measure, facility, month, bin, CAST(sum(seen) AS DOUBLE) AS seen, CAST(sum(expected) AS DOUBLE) AS expected
    FROM beside GROUP BY task, model_version, measure, facility, month, bin
),
sized AS (
    SELECT *, sum(seen) OVER whole AS n, sum(expected) OVER whole AS reference_n, count(*) OVER whole AS bins
    FROM binned WINDOW whole AS (PARTITION BY task, model_version, measure, facility, month)
),
shares AS (
    SELECT *, (seen + 0.5) / (n + 0.5 * bins) AS share, (expected + 0.5) / (reference_n + 0.5 * bins) AS reference, greatest(1.0, bins - 1.0) AS freedom
    FROM sized WHERE reference_n > 0
),
compared AS (
    SELECT task, model_version, measure, facility, month, min(n) AS n, min(reference_n) AS reference_n, min(freedom) AS freedom,
           CAST(sum(CAST((share - reference) * ln(share / reference) AS DECIMAL(38, 18))) AS DOUBLE) AS psi
    FROM shares GROUP BY task, model_version, measure, facility, month
)
SELECT task, model_version, measure, facility, month, n, reference_n, psi,
       (1.0 / n + 1.0 / reference_n) * freedom * power(1.0 - 2.0 / (9.0 * freedom) + 5.0 * sqrt(2.0 / (9.0 * freedom)), 3.0) AS noise
FROM compared
