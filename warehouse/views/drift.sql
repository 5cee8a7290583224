-- drift: one row per (task, model, month, kind, measure), for months that are complete: everything of them is known, and for
-- performance every label mature. What is one feed's is complete when that feed has come so far. Performance and scores are of all feeds that were
-- predicted about in the month, and wait for the last of them, but for a month at most: a feed that has ended holds up nobody. An alarm needs enough cases, a change that matters, and one that chance hardly ever makes.
-- AUROC is held against the model's months before that did not fall themselves, by what was normal before the first fall (`sound`), so that a fall does not
-- become what is normal, however long it lasts; inputs and scores against the twelve months before (`score_mean`: by how many standard deviations their mean
-- moved); a feed's shares against all months before.
WITH reached AS (
    SELECT s.task, s.model_version, s.month, greatest(min(w.watermark), max(w.watermark) - INTERVAL '31 days') AS watermark
    FROM scored_prompts AS s JOIN watermarks AS w ON w.facility = s.facility
    GROUP BY s.task, s.model_version, s.month
),
monthly AS (
    SELECT p.*
    FROM performance AS p
    JOIN task_rules AS r ON r.task = p.task
    JOIN reached AS c ON c.task = p.task AND c.model_version = p.model_version AND c.month = p.month
    WHERE p.month + INTERVAL '1 month' + r.mature_after <= c.watermark
      AND p.auroc IS NOT NULL AND p.n >= 40 AND p.positives >= 5 AND p.n - p.positives >= 5
),
first_look AS (
    SELECT *, avg(auroc) OVER before AS reference, count(*) OVER before AS reference_months,
           sqrt(avg(auroc_error * auroc_error) OVER before / count(*) OVER before) AS reference_error
    FROM monthly WINDOW before AS (PARTITION BY task, model_version ORDER BY month ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
),
looked AS (
    SELECT *, reference_months >= 3 AND auroc < reference - greatest(0.10, 4.0 * sqrt(auroc_error * auroc_error + reference_error * reference_error)) AS fell
    FROM first_look
),
since AS (
    SELECT *, first_value(CASE WHEN fell THEN reference END) IGNORE NULLS OVER upto AS sound,
           first_value(CASE WHEN fell THEN reference_error END) IGNORE NULLS OVER upto AS sound_error
    FROM looked WINDOW upto AS (PARTITION BY task, model_version ORDER BY month ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
),
kept AS (
    SELECT task, model_version, month, n, auroc, auroc_low, auroc_high, auroc_error,
           CASE WHEN auroc < sound - greatest(0.10, 4.0 * sqrt(auroc_error * auroc_error + sound_error * sound_error)) THEN NULL ELSE auroc END AS normal
    FROM since
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
    FROM shifts AS s
    LEFT JOIN watermarks AS w ON w.facility = s.facility
    LEFT JOIN reached AS c ON c.task = s.task AND c.model_version = s.model_version AND c.month = s.month
    WHERE s.month + INTERVAL '1 month' <= COALESCE(w.watermark, c.watermark) AND s.n >= 20
),
means AS (
    SELECT l.task, l.model_version, l.month, count(*) AS n, avg(l.logit) AS mean, var_samp(l.logit) AS variance
    FROM logits AS l JOIN reached AS c ON c.task = l.task AND c.model_version = l.model_version AND c.month = l.month
    WHERE l.month + INTERVAL '1 month' <= c.watermark
    GROUP BY l.task, l.model_version, l.month HAVING count(*) >= 20
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
    FROM plumbing AS p JOIN watermarks AS w ON w.facility = p.facility
    WHERE p.month + INTERVAL '1 month' <= w.watermark AND n >= 20
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
