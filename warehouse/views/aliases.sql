-- aliases: one row per (patient, other identity that it was stated with): senders name a person by one number here and by another there.
SELECT DISTINCT patient_id, patient_identity(facility, related) AS alias_id
FROM events WHERE code = 'patient.identified' AND related IS NOT NULL AND patient_id IS NOT NULL
