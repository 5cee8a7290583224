-- patients: one row per living identity, with what was last stated of it.
SELECT patient_id, birth_date, sex, race, CASE WHEN death_retracted_asserted_at >= died_asserted_at THEN NULL ELSE died_at END AS died_at
FROM (
    SELECT patient_id,
           last_value(text_value ORDER BY asserted_at, text_value) FILTER (WHERE code = 'patient.birth_date') AS birth_date,
           last_value(text_value ORDER BY asserted_at, text_value) FILTER (WHERE code = 'patient.sex') AS sex,
           last_value(text_value ORDER BY asserted_at, text_value) FILTER (WHERE code = 'patient.race') AS race,
           last_value(time ORDER BY asserted_at, time) FILTER (WHERE code = 'patient.died' AND time IS NOT NULL) AS died_at,
           max(asserted_at) FILTER (WHERE code = 'patient.died') AS died_asserted_at,
           max(asserted_at) FILTER (WHERE code = 'patient.death_retracted') AS death_retracted_asserted_at
    FROM events
    WHERE patient_id IS NOT NULL
    GROUP BY patient_id
) AS stated
