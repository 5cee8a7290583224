-- comorbidity: one row per stay: Charlson's index of its ICD codes as a class. What is coded is settled when the stay ends.
SELECT encounter_id,
       CASE WHEN charlson_index = 0 THEN 0 WHEN charlson_index <= 2 THEN 1 WHEN charlson_index <= 4 THEN 2 WHEN charlson_index <= 7 THEN 3
            WHEN charlson_index > 7 THEN 4 END AS outcome,
       discharged_at AS outcome_at,
       discharged_at IS NULL AS not_discharged,
       discharged_at < admitted_at AS times_reversed,
       newborn,
       charlson_index IS NULL AS no_codes,
       continued,
       observation,
       whole_days = 0 AS same_day,
       overlaps AS overlapping,
       patient_merged
FROM outcomes
