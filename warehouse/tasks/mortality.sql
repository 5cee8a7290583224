-- mortality: one row per stay: whether its discharge disposition says that the patient died. It comes to be when the stay ends, a death that was stated within
-- the stay when it was.
SELECT encounter_id,
       CAST(died AS INT) AS outcome,
       CASE WHEN died AND died_at > admitted_at AND died_at < discharged_at THEN died_at ELSE discharged_at END AS outcome_at,
       discharged_at IS NULL AS not_discharged,
       discharged_at < admitted_at AS times_reversed,
       newborn,
       disposition IS NULL AND NOT died AS no_disposition,
       hospice,
       continued,
       observation,
       whole_days = 0 AS same_day,
       overlaps AS overlapping,
       patient_merged
FROM outcomes
