-- the readmission cohort over the rows of a MEDS export: one row per (subject, discharge) that counts, and whether an admission followed within
-- 30 days. The same rules as warehouse/meds/aces/readmission.yaml.
WITH moments AS (
    SELECT subject_id, time,
           bool_or(starts_with(code, 'HOSPITAL_ADMISSION//')) AS admitted,
           bool_or(starts_with(code, 'HOSPITAL_DISCHARGE//')) AS discharged,
           bool_or(starts_with(code, 'HOSPITAL_DISCHARGE//') AND lower(split_part(code, '//', 2)) IN ('20', '40', '41', '42', 'exp', 'expired', 'died')) AS died,
           bool_or(starts_with(code, 'DISCHARGED_FROM//') AND upper(split_part(code, '//', 2)) IN ('REH', 'DIA', 'PAL') OR starts_with(code, 'EXCLUDED//readmission//')) AS excluded,
           bool_or(code = 'MATURE//readmission') AS mature
    FROM facts GROUP BY subject_id, time
),
followed AS (
    SELECT *, min(CASE WHEN admitted THEN time END)
                  OVER (PARTITION BY subject_id ORDER BY time DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS next_admitted_at
    FROM moments
)
SELECT subject_id, time AS prediction_time, COALESCE(next_admitted_at <= time + INTERVAL '30 days', false) AS boolean_value
FROM followed
WHERE discharged AND mature AND NOT died AND NOT excluded
ORDER BY subject_id, time
