-- labels: one row per (task, stay). `label` is NULL until it is mature for everyone, and where the stay is excluded.
WITH asked AS (
    SELECT r.task, r.kind, o.*,
           CASE r.clock WHEN 'discharge' THEN o.discharged_at ELSE o.admitted_at END + r.mature_after AS mature_at,
           CASE
               WHEN o.discharged_at IS NULL THEN NULL
               WHEN r.task = 'readmission' AND o.died THEN 'died'
               WHEN r.task = 'readmission' AND upper(o.department) IN ('REH', 'DIA', 'PAL') THEN 'not_acute_care'
               WHEN r.task = 'comorbidity' AND o.charlson_index IS NULL THEN 'no_codes'
               WHEN r.task = 'denial' AND o.denied IS NULL THEN 'no_decided_claim'
           END AS excluded_because,
           CASE r.task
               WHEN 'readmission' THEN CAST(o.readmitted AS INT)
               WHEN 'mortality' THEN CAST(COALESCE(o.died, false) AS INT)
               WHEN 'length_of_stay' THEN CASE WHEN o.whole_days <= 2 THEN 0 WHEN o.whole_days = 3 THEN 1 WHEN o.whole_days <= 5 THEN 2 ELSE 3 END
               WHEN 'comorbidity' THEN CASE WHEN o.charlson_index = 0 THEN 0 WHEN o.charlson_index <= 2 THEN 1 WHEN o.charlson_index <= 4 THEN 2 WHEN o.charlson_index <= 7 THEN 3 ELSE 4 END
               WHEN 'denial' THEN CAST(o.denied AS INT)
           END AS outcome
    FROM outcomes AS o CROSS JOIN task_rules AS r
)
SELECT a.task, a.encounter_id, a.patient_id, a.facility, p.note_id, p.note_version_id, p.prediction_at,
       CASE WHEN a.discharged_at IS NOT NULL AND a.excluded_because IS NULL AND a.mature_at <= w.watermark THEN a.outcome END AS label,
       a.mature_at,
       CASE WHEN a.mature_at <= w.watermark THEN a.excluded_because END AS excluded_because
FROM asked AS a
JOIN watermarks AS w ON w.facility = a.facility
LEFT JOIN prompt_notes AS p ON p.encounter_id = a.encounter_id AND p.kind = a.kind
