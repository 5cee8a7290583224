-- the readmission cohort over the rows of a MEDS export: one row per (subject, discharge) that counts, and whether an admission followed within
-- 30 days. The same rules as warehouse/meds/aces/readmission.yaml.
WITH discharges AS (
    SELECT subject_id, time, bool_or(lower(split_part(code, '//', 2)) IN ('20', '40', '41', '42', 'exp', 'expired', 'died')) AS died
    FROM facts WHERE code LIKE 'HOSPITAL_DISCHARGE//%' GROUP BY subject_id, time
),
excluded AS (
    SELECT DISTINCT subject_id, time FROM facts
    WHERE (code LIKE 'DISCHARGED_FROM//%' AND upper(split_part(code, '//', 2)) IN ('REH', 'DIA', 'PAL'))
       OR code LIKE 'EXCLUDED//readmission//%'
),
mature AS (SELECT DISTINCT subject_id, time FROM facts WHERE code = 'MATURE//readmission'),
returned AS (
    SELECT DISTINCT d.subject_id, d.time
    FROM discharges AS d JOIN facts AS a ON a.subject_id = d.subject_id
    WHERE a.code LIKE 'HOSPITAL_ADMISSION//%' AND a.time > d.time AND a.time <= d.time + INTERVAL '30 days'
)
SELECT d.subject_id, d.time AS prediction_time, r.subject_id IS NOT NULL AS boolean_value
FROM discharges AS d
JOIN mature AS m ON m.subject_id = d.subject_id AND m.time = d.time
LEFT JOIN excluded AS e ON e.subject_id = d.subject_id AND e.time = d.time
LEFT JOIN returned AS r ON r.subject_id = d.subject_id AND r.time = d.time
WHERE NOT d.died AND e.subject_id IS NULL
ORDER BY d.subject_id, d.time
