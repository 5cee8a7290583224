-- denial: one row per stay: whether a claim for it was denied at first, whatever an appeal brought later. It comes to be with the first denial or,
-- where there is none, when the last of its claims is decided first.
SELECT encounter_id,
       CAST(denied AS INT) AS outcome,
       claim_decided_at AS outcome_at,
       discharged_at IS NULL AS not_discharged,
       discharged_at < admitted_at AS times_reversed,
       newborn,
       claims > 0 AND claims = claims_cancelled AS claim_withdrawn,
       denied IS NULL AS no_decided_claim,
       NOT denied AND claims_undecided > 0 AS undecided_claim,
       claims > 1 AS several_claims,
       continued,
       observation,
       whole_days = 0 AS same_day,
       overlaps AS overlapping,
       patient_merged
FROM outcomes
