-- identifiers: one row per (patient, system, value), since when it was known. Merged patients resolve to the survivor.
SELECT patient_id, system, value, min(known_at) AS known_at
FROM (
    SELECT patient_id, patient_system AS system, patient_value AS value, known_at FROM events WHERE patient_value IS NOT NULL
    UNION ALL
    SELECT patient_id, split_part(related, '|', 1) AS system, substr(related, strpos(related, '|') + 1) AS value, known_at
    FROM events WHERE code IN ('patient.identified', 'patient.merged') AND related IS NOT NULL
) AS stated
GROUP BY patient_id, system, value
