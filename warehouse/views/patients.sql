-- patients: one row per living identity, with what was last stated of it.
SELECT patient_id,
       last_value(text_value ORDER BY asserted_at, known_at, source_offset) FILTER (WHERE code = 'patient.birth_date') AS birth_date,
       last_value(text_value ORDER BY asserted_at, known_at, source_offset) FILTER (WHERE code = 'patient.sex') AS sex,
       last_value(text_value ORDER BY asserted_at, known_at, source_offset) FILTER (WHERE code = 'patient.race') AS race,
       max(time) FILTER (WHERE code = 'patient.died') AS died_at
FROM events
WHERE patient_id IS NOT NULL
GROUP BY patient_id
