-- aliases: one row per (patient, other identity that it was stated with): senders name a person by one number here and by another there.
SELECT DISTINCT a.patient_id, COALESCE(s.survivor_id, a.alias_id) AS alias_id
FROM survivors AS s
RIGHT JOIN (
    SELECT patient_id, patient_identity(facility, related) AS alias_id
    FROM (SELECT DISTINCT patient_id, facility, related FROM events WHERE code = 'patient.identified' AND related IS NOT NULL AND patient_id IS NOT NULL) AS said
) AS a ON s.patient_id = a.alias_id
