-- reported_facts: one row per (facility, kind of fact, subject, own time[, code]): when it became known first. Admissions, discharges and deaths count from their own time,
-- codes and first decisions of claims from the stay's discharge; a fact that is said again counts when it was first said.
WITH ended AS (SELECT encounter_id, discharged_at FROM encounters WHERE discharged_at IS NOT NULL)
SELECT facility, CASE code WHEN 'encounter.discharged' THEN 'discharge' WHEN 'patient.died' THEN 'death' ELSE 'admission' END AS fact,
       COALESCE(encounter_id, patient_id) AS subject, time AS own_at, min(known_at) AS known_at
FROM events
WHERE code IN ('encounter.admitted', 'encounter.discharged', 'patient.died') AND time IS NOT NULL AND COALESCE(encounter_id, patient_id) IS NOT NULL
GROUP BY 1, 2, 3, 4
UNION ALL
SELECT v.facility, 'diagnosis' AS fact, v.encounter_id AS subject, e.discharged_at AS own_at, min(v.known_at) AS known_at
FROM events AS v JOIN ended AS e ON e.encounter_id = v.encounter_id
WHERE v.code = 'encounter.diagnosed' AND v.text_value IS NOT NULL
GROUP BY v.facility, v.encounter_id, e.discharged_at, v.text_value
UNION ALL
SELECT c.facility, 'claim' AS fact, c.claim_id AS subject, e.discharged_at AS own_at, c.decision_known_at AS known_at
FROM claims AS c JOIN ended AS e ON e.encounter_id = c.encounter_id
WHERE c.decision_known_at IS NOT NULL
