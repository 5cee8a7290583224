-- moved_stays: one row per (stay, patient) that facts of the stay were told under before it turned out to be another's: it was moved away from them, or its sender
-- put another name on it and left its beginning as it was. A number that was used again for another stay has another beginning.
SELECT s.encounter_id, e.patient_id
FROM stays AS s
JOIN (
    SELECT encounter_id, patient_id, time FROM events
    WHERE code IN ('encounter.admitted', 'encounter.admission_stated') AND patient_id IS NOT NULL AND time IS NOT NULL
) AS e ON e.encounter_id = s.encounter_id AND e.time = s.admitted_at
WHERE e.patient_id <> s.patient_id
UNION
SELECT s.encounter_id, COALESCE(v.survivor_id, e.patient_id) AS patient_id
FROM (
    SELECT encounter_id, patient_identity(facility, related) AS patient_id FROM events
    WHERE code = 'encounter.moved' AND encounter_id IS NOT NULL AND related IS NOT NULL
) AS e
JOIN stays AS s ON s.encounter_id = e.encounter_id
LEFT JOIN survivors AS v ON v.patient_id = e.patient_id
WHERE COALESCE(v.survivor_id, e.patient_id) <> s.patient_id
