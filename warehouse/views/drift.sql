-- drift: one row per (task, model, month, kind, measure), for months that are complete: everything of them is known, and for
-- performance every label mature. An alarm needs enough cases, a change that matters, and one that chance hardly ever makes.
-- AUROC is held against the model's months before that did not fall themselves, so that a fall does not become what is normal;
-- inputs and scores against the twelve months before (`score_mean`: by how many standard deviations their mean moved); a feed's shares against all months before.
WITH closed AS (SELECT min(watermark) AS watermark FROM watermarks),
monthly AS (
    SELECT p.*
    FROM performance AS p JOIN task_rules AS r ON r.task = p.task CROSS JOIN closed AS c
    WHERE p.month + INTERVAL '1 month' + r.mature_after <= c.watermark
      AND p.auroc IS NOT NULL AND p.n >= 40 AND p.positives >= 5 AND p.n - p.positives >= 5
),
first_look AS (
    SELECT *, avg(auroc) OVER before AS reference, count(*) OVER before AS reference_months,
           sqrt(avg(auroc_error * auroc_error) OVER before / count(*) OVER before) AS reference_error
    FROM monthly WINDOW before AS (PARTITION BY task, model_version ORDER BY month ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
),
kept AS (
    SELECT task, model_version, month, n, auroc, auroc_low, auroc_high, auroc_error,
           CASE WHEN reference_months >= 3 AND auroc < reference - greatest(0.10, 4.0 * sqrt(auroc_error * auroc_error + reference_error * reference_error))
                THEN NULL ELSE auroc END AS normal
    FROM first_look
),
held AS (
    SELECT *, avg(normal) OVER before AS reference, count(normal) OVER before AS reference_months,
           sqrt(avg(CASE WHEN normal IS NOT NULL THEN auroc_error * auroc_error END) OVER before / count(normal) OVER before) AS reference_error
    FROM kept WINDOW before AS (PARTITION BY task, model_version ORDER BY month ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
),
performances AS (
    SELECT *, reference - greatest(0.10, 4.0 * sqrt(auroc_error * auroc_error + reference_error * reference_error)) AS bound FROM held
),
populations AS (
    SELECT s.*, greatest(0.25, s.noise) AS bound
    FROM shifts AS s CROSS JOIN closed AS c WHERE s.month + INTERVAL '1 month' <= c.watermark AND s.n >= 20
),
means AS (
    SELECT task, model_version, month, count(*) AS n, avg(logit) AS mean, var_samp(logit) AS variance
    FROM logits CROSS JOIN closed AS c WHERE month + INTERVAL '1 month' <= c.watermark
    GROUP BY task, model_version, month HAVING count(*) >= 20
),
compared AS (
    SELECT *, sum(n) OVER before AS reference_n, sum(n * mean) OVER before / sum(n) OVER before AS reference,
           sum(n * variance) OVER before / sum(n) OVER before AS reference_variance
    FROM means WINDOW before AS (PARTITION BY task, model_version ORDER BY month ROWS BETWEEN 12 PRECEDING AND 1 PRECEDING)
),
scores AS (
    SELECT task, model_version, month, n, reference_n, abs(mean - reference) / sqrt(reference_variance) AS moved,
           greatest(0.25, 5.0 * sqrt(1.0 / n + 1.0 / reference_n)) AS bound
    FROM compared WHERE reference_variance > 0
),
feeds AS (
    SELECT p.*, CAST(hits AS DOUBLE) / n AS share, sum(n) OVER before AS reference_n, CAST(sum(hits) OVER before AS DOUBLE) / sum(n) OVER before AS reference
    FROM plumbing AS p CROSS JOIN closed AS c
    WHERE p.month + INTERVAL '1 month' <= c.watermark AND n >= 20
    WINDOW before AS (PARTITION BY p.facility, p.measure ORDER BY p.month ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
),
bounded AS (SELECT *, reference + greatest(0.10, 6.0 * sqrt((reference * (1 - reference) + 0.01) / n)) AS bound FROM feeds)
SELECT task, model_version, month, 'performance' AS kind, 'auroc' AS measure, auroc AS value, auroc_low AS low, auroc_high AS high,
       bound AS "limit", COALESCE(reference_months >= 3 AND auroc < bound, false) AS alarm
FROM performances
UNION ALL
SELECT task, model_version, month, 'population' AS kind, measure, psi AS value, CAST(NULL AS DOUBLE) AS low, CAST(NULL AS DOUBLE) AS high,
       bound AS "limit", COALESCE(reference_n >= 200 AND n >= 40 AND psi > bound, false) AS alarm
FROM populations
UNION ALL
SELECT task, model_version, month, 'population' AS kind, 'score_mean' AS measure, moved AS value, CAST(NULL AS DOUBLE) AS low, CAST(NULL AS DOUBLE) AS high,
       bound AS "limit", COALESCE(reference_n >= 200 AND n >= 40 AND moved > bound, false) AS alarm
FROM scores
UNION ALL
SELECT 'all' AS task, '' AS model_version, month, 'plumbing' AS kind, measure || ':' || facility AS measure, share AS value, CAST(NULL AS DOUBLE) AS low, CAST(NULL AS DOUBLE) AS high,
       bound AS "limit", COALESCE(reference_n >= 200 AND share > bound, false) AS alarm
FROM bounded
