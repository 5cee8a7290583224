-- patients: one row per living identity, with what was last stated of it. A death that the end of a stay told of (FHIR's dispositions) stands as long as that end.
-- Where a stay is told twice, each of the two tells of its own end. `died_by_day`: no hour of the death was stated; `died_at` is where its day begins.
SELECT patient_id, birth_date, sex, race, CASE WHEN death_retracted_asserted_at >= died_asserted_at THEN NULL ELSE died_at END AS died_at,
       COALESCE(died_by = 'day', false) AND (death_retracted_asserted_at >= died_asserted_at) IS NOT TRUE AS died_by_day
FROM (
    SELECT patient_id,
           last_value(text_value ORDER BY asserted_at, text_value) FILTER (WHERE code = 'patient.birth_date') AS birth_date,
           last_value(text_value ORDER BY asserted_at, text_value) FILTER (WHERE code = 'patient.sex') AS sex,
           last_value(text_value ORDER BY asserted_at, text_value) FILTER (WHERE code = 'patient.race') AS race,
           last_value(time ORDER BY asserted_at, time, text_value) FILTER (WHERE died AND time IS NOT NULL) AS died_at,
           last_value(text_value ORDER BY asserted_at, time, text_value) FILTER (WHERE died AND time IS NOT NULL) AS died_by,
           max(asserted_at) FILTER (WHERE died) AS died_asserted_at,
           max(asserted_at) FILTER (WHERE code = 'patient.death_retracted') AS death_retracted_asserted_at
    FROM (
        SELECT e.patient_id, e.code, e.time, e.asserted_at, e.text_value,
               e.code = 'patient.died' AND COALESCE(e.asserted_at >= s.discharged_asserted_at, true)
                   AND COALESCE(e.asserted_at > s.discharge_cancelled_asserted_at, true) AS died
        FROM (
            SELECT encounter_id, discharged_asserted_at, discharge_cancelled_asserted_at FROM stays
            UNION ALL
            SELECT stated_encounter_id AS encounter_id, max(asserted_at) FILTER (WHERE code = 'encounter.discharged') AS discharged_asserted_at,
                   max(asserted_at) FILTER (WHERE code = 'encounter.discharge_cancelled') AS discharge_cancelled_asserted_at
            FROM events WHERE tied AND code IN ('encounter.discharged', 'encounter.discharge_cancelled') GROUP BY stated_encounter_id
        ) AS s
        RIGHT JOIN events AS e ON e.code = 'patient.died' AND s.encounter_id = CASE WHEN e.tied THEN e.stated_encounter_id ELSE e.encounter_id END
        WHERE e.patient_id IS NOT NULL
    ) AS told
    GROUP BY patient_id
) AS stated
