-- mortality: one row per stay: whether its discharge disposition says that the patient died. It comes to be when the stay ends; a death that was stated within
-- the stay when it was, or when its day was over, where no hour of it was stated.
SELECT encounter_id,
       CAST(died AS INT) AS outcome,
       CASE WHEN NOT died OR died_at >= discharged_at THEN discharged_at
            WHEN died_by_day AND died_at + INTERVAL '1 day' > admitted_at THEN least(discharged_at, died_at + INTERVAL '1 day')
            WHEN died_at > admitted_at THEN died_at
            ELSE discharged_at END AS outcome_at,
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
