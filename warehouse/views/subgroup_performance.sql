-- subgroup_performance: one row per (task, model, attribute, group): how well live predictions did for people of an age, sex, race or department, over all
-- months and mature labels only. `group` is `unknown` where nobody said; `auroc` is NULL where a group has one class alone.
-- People are looked up once: as four queries one beside the other their joins would not fit into the memory of one.
WITH people AS (
    SELECT j.task, j.model_version, j.label, j.probabilities, p.sex, p.race, NULLIF(e.department, '') AS department,
           date_part('year', e.admitted_at) - TRY_CAST(left(p.birth_date, 4) AS INT) AS age
    FROM judged AS j
    JOIN encounters AS e ON e.encounter_id = j.encounter_id
    LEFT JOIN patients AS p ON p.patient_id = e.patient_id
    WHERE j.label IS NOT NULL
),
grouped AS (
    SELECT p.task, p.model_version, p.label, p.probabilities, a.attribute,
           CASE a.attribute
               WHEN 'age' THEN CASE WHEN p.age < 18 THEN '0-17' WHEN p.age < 45 THEN '18-44' WHEN p.age < 65 THEN '45-64' WHEN p.age < 80 THEN '65-79' WHEN p.age >= 80 THEN '80-' END
               WHEN 'sex' THEN p.sex
               WHEN 'race' THEN p.race
               ELSE p.department
           END AS "group"
    FROM (VALUES ('age'), ('sex'), ('race'), ('department')) AS a (attribute) CROSS JOIN people AS p
)
SELECT task, model_version, attribute, COALESCE("group", 'unknown') AS "group", count(*) AS n, count(*) FILTER (WHERE label > 0) AS positives,
       auroc_ovr(label, probabilities) AS auroc,
       greatest(0.0, auroc_ovr(label, probabilities) - 1.96 * auroc_error(label, probabilities)) AS auroc_low,
       least(1.0, auroc_ovr(label, probabilities) + 1.96 * auroc_error(label, probabilities)) AS auroc_high,
       brier(label, probabilities) AS brier, ece(label, probabilities) AS ece
FROM grouped
GROUP BY task, model_version, attribute, 4
