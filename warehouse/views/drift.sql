-- drift: one row per (task, model, month, kind, measure). Each month is held against the months of the same model before it.
-- An alarm needs a month that is complete, enough cases, a fall that matters, and one that chance explains once in some 30,000 times.
WITH closed AS (SELECT min(watermark) AS watermark FROM watermarks),
monthly AS (
    SELECT p.*, p.month + INTERVAL '1 month' + r.mature_after <= c.watermark AS complete
    FROM performance AS p JOIN task_rules AS r ON r.task = p.task CROSS JOIN closed AS c
),
held AS (
    SELECT m.*,
           avg(m.auroc) OVER before AS reference, count(m.auroc) OVER before AS reference_months,
           sqrt(avg(m.auroc_error * m.auroc_error) OVER before / count(m.auroc) OVER before) AS reference_error
    FROM monthly AS m
    WHERE m.complete AND m.auroc IS NOT NULL AND m.n >= 40 AND m.positives >= 5 AND m.n - m.positives >= 5
    WINDOW before AS (PARTITION BY m.task, m.model_version ORDER BY m.month ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
),
feeds AS (
    SELECT p.*, CAST(hits AS DOUBLE) / n AS share, sum(n) OVER before AS reference_n, CAST(sum(hits) OVER before AS DOUBLE) / sum(n) OVER before AS reference
    FROM plumbing AS p CROSS JOIN closed AS c
    WHERE p.month + INTERVAL '1 month' <= c.watermark AND n >= 20
    WINDOW before AS (PARTITION BY p.facility, p.measure ORDER BY p.month ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
)
SELECT task, model_version, month, 'performance' AS kind, 'auroc' AS measure, auroc AS value, auroc_low AS low, auroc_high AS high,
       reference - greatest(0.10, 4.0 * sqrt(auroc_error * auroc_error + reference_error * reference_error)) AS "limit",
       COALESCE(reference_months >= 3 AND auroc < reference - greatest(0.10, 4.0 * sqrt(auroc_error * auroc_error + reference_error * reference_error)), false) AS alarm
FROM held
UNION ALL
SELECT 'all' AS task, '' AS model_version, month, 'plumbing' AS kind, measure || ':' || facility AS measure, share AS value, CAST(NULL AS DOUBLE) AS low, CAST(NULL AS DOUBLE) AS high,
       reference + greatest(0.10, 6.0 * sqrt((reference * (1 - reference) + 0.01) / n)) AS "limit",
       COALESCE(reference_n >= 200 AND share > reference + greatest(0.10, 6.0 * sqrt((reference * (1 - reference) + 0.01) / n)), false) AS alarm
FROM feeds
