-- length_of_stay: one row per stay: its whole days as a class, by edges that are never recomputed. It comes to be when the stay ends.
SELECT encounter_id,
       CASE WHEN whole_days <= 2 THEN 0 WHEN whole_days = 3 THEN 1 WHEN whole_days <= 5 THEN 2 WHEN whole_days > 5 THEN 3 END AS outcome,
       discharged_at AS outcome_at,
       discharged_at IS NULL AS not_discharged,
       discharged_at < admitted_at AS times_reversed,
       newborn,
       continued,
       observation,
       whole_days = 0 AS same_day,
       overlaps AS overlapping,
       patient_merged
FROM outcomes
