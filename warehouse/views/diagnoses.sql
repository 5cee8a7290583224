-- diagnoses: one row per (stay, code) that was stated and not taken back since. The code stands behind the last slash: a system may be a URL.
-- A record of its own (a FHIR Condition) says what its newest version says, and nothing that an older one said; it takes back its own alone.
WITH told AS (
    SELECT encounter_id, patient_id, facility, code, text_value, numeric_value, asserted_at, CASE WHEN strpos(related, '/') > 0 THEN related ELSE '' END AS record
    FROM events WHERE code IN ('encounter.diagnosed', 'encounter.diagnosis_retracted')
),
newest AS (SELECT facility, record, max(asserted_at) AS asserted_at FROM told WHERE record <> '' GROUP BY facility, record),
stated AS (
    SELECT t.encounter_id, t.text_value, t.record, max(t.patient_id) AS patient_id,
           last_value(t.numeric_value ORDER BY t.asserted_at, t.numeric_value DESC) FILTER (WHERE t.code = 'encounter.diagnosed' AND t.numeric_value IS NOT NULL) AS rank,
           max(t.asserted_at) FILTER (WHERE t.code = 'encounter.diagnosed') AS stated_at,
           max(t.asserted_at) FILTER (WHERE t.code = 'encounter.diagnosis_retracted') AS retracted_at
    FROM told AS t
    LEFT JOIN newest AS n ON n.facility = t.facility AND n.record = t.record
    WHERE t.encounter_id IS NOT NULL AND t.text_value IS NOT NULL AND (t.record = '' OR t.asserted_at = n.asserted_at)
    GROUP BY t.encounter_id, t.text_value, t.record
)
SELECT encounter_id, max(patient_id) AS patient_id,
       left(text_value, character_length(text_value) - character_length(substr_index(text_value, '/', -1)) - 1) AS system,
       substr_index(text_value, '/', -1) AS code, min(rank) AS rank
FROM stated
WHERE stated_at IS NOT NULL AND (retracted_at IS NULL OR stated_at > retracted_at)
GROUP BY encounter_id, text_value
