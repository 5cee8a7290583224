-- population: one row per (task, model, measure, month, bin): how many stays, notes or predictions fell into the bin.
-- Inputs are told apart by facility and belong to no task; scores belong to their task and model and to no facility, in bins of one logit.
-- What a feed leaves out is no bin: that is a matter of plumbing.
WITH people AS (
    SELECT e.facility, date_trunc('month', e.admitted_at) AS month, NULLIF(e.department, '') AS department, p.sex,
           date_part('year', e.admitted_at) - TRY_CAST(left(p.birth_date, 4) AS INT) AS age
    FROM encounters AS e LEFT JOIN patients AS p ON p.patient_id = e.patient_id
),
inputs AS (
    SELECT 'department' AS measure, facility, month, department AS bin FROM people
    UNION ALL SELECT 'sex' AS measure, facility, month, sex AS bin FROM people
    UNION ALL
    SELECT 'age' AS measure, facility, month,
           CAST(CAST(greatest(2, least(9, floor(age / 10.0))) AS INT) * 10 AS VARCHAR) AS bin
    FROM people WHERE age IS NOT NULL
    UNION ALL
    SELECT 'length_of_' || kind || '_note' AS measure, facility, date_trunc('month', known_at) AS month, CAST(CAST(floor(log2(length + 1)) AS INT) AS VARCHAR) AS bin
    FROM note_versions WHERE version = 1 AND kind IN ('admission', 'discharge') AND length > 0
)
SELECT 'all' AS task, '' AS model_version, measure || ':' || facility AS measure, facility, month, bin, count(*) AS n
FROM inputs WHERE month IS NOT NULL AND bin IS NOT NULL GROUP BY measure, facility, month, bin
UNION ALL
SELECT task, model_version, 'score' AS measure, '' AS facility, month, CAST(CAST(floor(logit) AS INT) AS VARCHAR) AS bin, count(*) AS n
FROM logits GROUP BY task, model_version, month, 6
