-- diagnoses: one row per (stay, code) that was stated and not taken back since. The code stands behind the last slash: a system may be a URL.
SELECT encounter_id, patient_id, left(text_value, character_length(text_value) - character_length(substr_index(text_value, '/', -1)) - 1) AS system,
       substr_index(text_value, '/', -1) AS code, rank
FROM (
    SELECT encounter_id, text_value, max(patient_id) AS patient_id,
           min(numeric_value) FILTER (WHERE code = 'encounter.diagnosed') AS rank,
           max(asserted_at) FILTER (WHERE code = 'encounter.diagnosed') AS stated_at,
           max(asserted_at) FILTER (WHERE code = 'encounter.diagnosis_retracted') AS retracted_at
    FROM events
    WHERE encounter_id IS NOT NULL AND code IN ('encounter.diagnosed', 'encounter.diagnosis_retracted') AND text_value IS NOT NULL
    GROUP BY encounter_id, text_value
) AS stated
WHERE stated_at IS NOT NULL AND (retracted_at IS NULL OR stated_at > retracted_at)
