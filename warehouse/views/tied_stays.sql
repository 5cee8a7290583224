-- tied_stays: one row per visit that is another one told a second time, and the one that stands for both.
-- The newest version of a FHIR Encounter (`record`) says that it is a stay and lists the visit number under which HL7 v2 tells of it (`encounter.identified`), and all that
-- was told of either names one person, the same for both. The one whose admission was known first stands, so that the older never changes.
-- Not so where they began more than a day apart, where the Encounter lists several numbers or several Encounters list the number, or where what has the number lists another
-- in turn: nobody can say then which of them are one. A number of which nothing was told yet is the Encounter's.
WITH listed AS (
    SELECT l.record, COALESCE(m.survivor_id, l.number) AS number, max(l.listed_at) AS listed_at
    FROM merged_stays AS m
    RIGHT JOIN (
        SELECT encounter_id AS record, encounter_identity(facility, related) AS number, max(COALESCE(asserted_at, known_at)) AS listed_at
        FROM standing_events
        WHERE code = 'encounter.identified' AND related IS NOT NULL AND encounter_id IS NOT NULL
        GROUP BY 1, 2
    ) AS l ON m.encounter_id = l.number
    GROUP BY 1, 2
),
-- Each pair from both sides, so that the facts are read once.
sides AS (
    SELECT l.record, l.number, l.listed_at, s.is_record, CASE WHEN s.is_record THEN l.record ELSE l.number END AS stay_id
    FROM (VALUES (true), (false)) AS s(is_record) CROSS JOIN listed AS l
    WHERE l.record <> l.number
),
-- `stated`: what every version of an Encounter says of itself, whether it is a stay, a visit, planned, cancelled or deleted.
facts AS (
    SELECT p.record, p.number, p.listed_at, p.is_record, COALESCE(s.survivor_id, e.patient_id) AS person, e.code, e.known_at, CAST(e.time AS BIGINT) AS at,
           COALESCE(e.asserted_at, e.known_at) AS asserted_at, e.time IS NOT NULL AND e.code IN ('encounter.admitted', 'encounter.admission_stated') AS admits,
           e.encounter_id = p.stay_id AND e.code IN ('encounter.admitted', 'encounter.registered', 'encounter.preadmitted', 'encounter.admission_cancelled', 'encounter.deleted') AS stated
    FROM sides AS p
    JOIN (
        SELECT COALESCE(m.survivor_id, t.encounter_id) AS stay_id, t.encounter_id, t.patient_id, t.code, t.time, t.asserted_at, t.known_at
        FROM merged_stays AS m RIGHT JOIN standing_events AS t ON m.encounter_id = t.encounter_id
        WHERE t.encounter_id IS NOT NULL
    ) AS e ON e.stay_id = p.stay_id
    LEFT JOIN survivors AS s ON s.patient_id = e.patient_id
),
known AS (
    SELECT record, number, listed_at, count(*) FILTER (WHERE NOT is_record) AS told_of_number,
           max(asserted_at) FILTER (WHERE is_record AND stated) AS said_at,
           max(asserted_at) FILTER (WHERE NOT is_record AND stated) AS number_said_at,
           max(asserted_at) FILTER (WHERE NOT is_record AND code = 'encounter.identified') AS number_listed_at,
           min(person) FILTER (WHERE is_record) AS person, max(person) FILTER (WHERE is_record) AS other_person,
           min(person) FILTER (WHERE NOT is_record) AS number_person, max(person) FILTER (WHERE NOT is_record) AS other_number_person,
           min(known_at) FILTER (WHERE is_record AND admits) AS since, min(known_at) FILTER (WHERE NOT is_record AND admits) AS number_since,
           last_value(at ORDER BY asserted_at, at) FILTER (WHERE is_record AND admits) AS admitted_at,
           last_value(at ORDER BY asserted_at, at) FILTER (WHERE is_record AND code = 'encounter.registered' AND at IS NOT NULL) AS registered_at,
           last_value(at ORDER BY asserted_at, at) FILTER (WHERE NOT is_record AND admits) AS number_admitted_at,
           last_value(at ORDER BY asserted_at, at) FILTER (WHERE NOT is_record AND code = 'encounter.registered' AND at IS NOT NULL) AS number_registered_at
    FROM facts GROUP BY record, number, listed_at
),
-- How many list the number is counted before anything is asked of the pairs.
standing AS (
    SELECT *, count(*) OVER (PARTITION BY record) AS of_record, count(*) OVER (PARTITION BY number) AS of_number,
           least(abs(admitted_at - number_admitted_at), abs(admitted_at - number_registered_at), abs(registered_at - number_admitted_at)) AS apart
    FROM known WHERE listed_at = said_at
),
tied AS (
    SELECT record, number, number_since IS NULL OR COALESCE(since < number_since OR (since = number_since AND record < number), false) AS record_stands
    FROM standing
    WHERE of_record = 1 AND of_number = 1 AND COALESCE(number_listed_at < number_said_at, number_listed_at IS NULL) AND person = other_person
      AND (told_of_number = 0 OR (number_person = person AND other_number_person = person)) AND COALESCE(apart <= 86400000000, true)
)
SELECT CASE WHEN record_stands THEN number ELSE record END AS encounter_id, CASE WHEN record_stands THEN record ELSE number END AS survivor_id FROM tied
