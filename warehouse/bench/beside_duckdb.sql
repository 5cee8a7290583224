-- facts by kind
SELECT code, count(*) AS n FROM event_rows GROUP BY code ORDER BY code;
-- facts and patients by facility and month
SELECT facility, date_trunc('month', known_at) AS month, count(*) AS n, count(DISTINCT patient_id) AS patients
FROM event_rows GROUP BY 1, 2 ORDER BY 1, 2;
-- stays by department
SELECT department, count(*) AS n, min(admitted_at) AS first_admitted_at, max(discharged_at) AS last_discharged_at
FROM (
    SELECT encounter_id, min(time) FILTER (WHERE code = 'encounter.admitted') AS admitted_at, max(time) FILTER (WHERE code = 'encounter.discharged') AS discharged_at,
           max(text_value) FILTER (WHERE code = 'encounter.department') AS department
    FROM event_rows WHERE code LIKE 'encounter.%' AND encounter_id IS NOT NULL GROUP BY encounter_id
) AS stays
WHERE admitted_at IS NOT NULL GROUP BY department ORDER BY n DESC, department;
-- returns within thirty days by year
SELECT date_trunc('year', discharged_at) AS year, count(*) AS n, count(*) FILTER (WHERE next_at <= discharged_at + INTERVAL '30 days') AS returned
FROM (
    SELECT discharged_at, lead(admitted_at) OVER (PARTITION BY patient_id ORDER BY admitted_at, encounter_id) AS next_at
    FROM (
        SELECT encounter_id, max(patient_id) AS patient_id, min(time) FILTER (WHERE code = 'encounter.admitted') AS admitted_at,
               max(time) FILTER (WHERE code = 'encounter.discharged') AS discharged_at
        FROM event_rows WHERE code IN ('encounter.admitted', 'encounter.discharged') AND encounter_id IS NOT NULL GROUP BY encounter_id
    ) AS stays
) AS followed
WHERE discharged_at IS NOT NULL GROUP BY 1 ORDER BY 1;
-- the first note of each stay and kind
SELECT kind, count(*) AS n, min(known_at) AS first_known_at
FROM (
    SELECT kind, known_at, row_number() OVER (PARTITION BY encounter_id, kind ORDER BY known_at, note_id) AS place
    FROM note_rows WHERE encounter_id IS NOT NULL
) AS placed
WHERE place = 1 GROUP BY kind ORDER BY kind;
-- records that repeat others
SELECT facility, count(*) AS n
FROM (SELECT facility, digest FROM message_rows GROUP BY facility, digest HAVING count(*) > 1) AS repeated
GROUP BY facility ORDER BY facility;
-- outcomes of reading by facility and month
SELECT facility, date_trunc('month', known_at) AS month, outcome, count(*) AS n FROM message_rows GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
-- how late facts come, by facility and kind
SELECT facility, code, count(*) AS n, max(date_part('epoch', known_at) - date_part('epoch', time)) AS latest_seconds
FROM event_rows WHERE time IS NOT NULL GROUP BY facility, code ORDER BY facility, code;
