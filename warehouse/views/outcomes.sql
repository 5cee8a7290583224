-- outcomes: one row per stay with what the five labels are made of, whether mature or not.
WITH ended AS (
    SELECT *, lower(disposition) IN ('20', '40', '41', '42', 'exp', 'expired', 'died') AS died,
           CAST(floor((to_unixtime(discharged_at) - to_unixtime(admitted_at)) / 86400.0) AS BIGINT) AS whole_days
    FROM encounters
),
returned AS (
    SELECT DISTINCT e.encounter_id
    FROM ended AS e JOIN encounters AS later ON later.patient_id = e.patient_id AND later.encounter_id <> e.encounter_id
    WHERE later.admitted_at > e.discharged_at AND later.admitted_at <= e.discharged_at + INTERVAL '30 days'
),
coded AS (SELECT encounter_id, charlson(system || '/' || code) AS charlson_index FROM diagnoses WHERE system IN ('ICD9CM', 'ICD10CM') GROUP BY encounter_id),
claimed AS (SELECT encounter_id, bool_or(initially_denied) AS denied FROM claims WHERE initially_denied IS NOT NULL AND status <> 'cancelled' GROUP BY encounter_id)
SELECT e.encounter_id, e.patient_id, e.facility, e.admitted_at, e.discharged_at, e.department, e.died, e.whole_days,
       r.encounter_id IS NOT NULL AS readmitted, c.charlson_index, d.denied
FROM ended AS e
LEFT JOIN returned AS r ON r.encounter_id = e.encounter_id
LEFT JOIN coded AS c ON c.encounter_id = e.encounter_id
LEFT JOIN claimed AS d ON d.encounter_id = e.encounter_id
