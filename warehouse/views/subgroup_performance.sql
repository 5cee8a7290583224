-- subgroup_performance: one row per (task, model, attribute, group): how well live predictions did for people of an age, sex, race or department, over all
-- months and mature labels only. `group` is `unknown` where nobody said; `auroc` is NULL where a group has one class alone.
WITH people AS (
    SELECT j.task, j.model_version, j.label, j.probabilities, p.sex, p.race, NULLIF(e.department, '') AS department,
           date_part('year', e.admitted_at) - TRY_CAST(left(p.birth_date, 4) AS INT) AS age
    FROM judged AS j
    JOIN encounters AS e ON e.encounter_id = j.encounter_id
    LEFT JOIN patients AS p ON p.patient_id = e.patient_id
    WHERE j.label IS NOT NULL
),
grouped AS (
    SELECT task, model_version, label, probabilities, 'age' AS attribute,
           CASE WHEN age < 18 THEN '0-17' WHEN age < 45 THEN '18-44' WHEN age < 65 THEN '45-64' WHEN age < 80 THEN '65-79' WHEN age >= 80 THEN '80-' END AS "group"
    FROM people
    UNION ALL SELECT task, model_version, label, probabilities, 'sex' AS attribute, sex AS "group" FROM people
    UNION ALL SELECT task, model_version, label, probabilities, 'race' AS attribute, race AS "group" FROM people
    UNION ALL SELECT task, model_version, label, probabilities, 'department' AS attribute, department AS "group" FROM people
)
SELECT task, model_version, attribute, COALESCE("group", 'unknown') AS "group", count(*) AS n, count(*) FILTER (WHERE label > 0) AS positives,
       auroc_ovr(label, probabilities) AS auroc,
       greatest(0.0, auroc_ovr(label, probabilities) - 1.96 * auroc_error(label, probabilities)) AS auroc_low,
       least(1.0, auroc_ovr(label, probabilities) + 1.96 * auroc_error(label, probabilities)) AS auroc_high,
       brier(label, probabilities) AS brier, ece(label, probabilities) AS ece
FROM grouped
GROUP BY task, model_version, attribute, 4
