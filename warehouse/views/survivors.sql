-- survivors: one row per patient identity that another stands for now, however long the chain.
-- Of several told merges of one identity the newest counts. Where merges run in a circle the newest of them counts, and its survivor stands.
-- A number that had records of its own and is listed in one PID-3 with a better one (`patient.identified`, `own` or `alike`) is that one's person from when both are
-- known on; whoever was known first stands, told survivors as well, so that nobody older changes. Not so where their birth dates differ (a mother's number with her newborn, a number that
-- was given again), nor, for `alike`, where not both state the same day; a year in which nobody alive was born is no date, and the date that was first stated of the
-- better number counts beside the last, so that a correction parts nobody. Not so where the two were unlinked since, nor for a number that is listed with more than
-- sixteen others that had records of their own. One that is listed with several people joins none of them (`person_roots`). What one version of a record lists
-- (`own_now`, `alike_now`) is listed as long as nothing later is said of which numbers that record has, nor that it was deleted.
WITH edges AS (
    SELECT patient_identity(facility, related) AS prior, patient_id AS survivor, max(COALESCE(asserted_at, known_at)) AS merged_at
    FROM standing_events
    WHERE code = 'patient.merged' AND related IS NOT NULL AND patient_id IS NOT NULL
    GROUP BY 1, 2
),
listed AS (
    SELECT name, patient_identity(facility, related) AS other, alike, by_version, listed_at
    FROM (
        SELECT patient_id AS name, facility, related, bool_or(text_value IN ('alike', 'alike_now')) AS alike,
               bool_and(text_value IN ('own_now', 'alike_now')) AS by_version, max(COALESCE(asserted_at, known_at)) AS listed_at
        FROM standing_events
        WHERE code = 'patient.identified' AND text_value IN ('own', 'alike', 'own_now', 'alike_now') AND related IS NOT NULL AND patient_id IS NOT NULL
        GROUP BY patient_id, facility, related
    ) AS said
),
-- Most numbers never name a record, and of these none is looked at again.
pairs AS (
    SELECT name, other, alike, by_version, listed_at
    FROM (
        SELECT l.*, count(*) OVER (PARTITION BY l.name) AS of_name, count(*) OVER (PARTITION BY l.other) AS of_other
        FROM listed AS l
        LEFT SEMI JOIN (SELECT patient_id FROM standing_events WHERE code = 'patient.identified' AND related IS NULL) AS n ON n.patient_id = l.other
        WHERE l.name <> l.other
    ) AS counted
    WHERE of_name <= 16 AND of_other <= 16
),
-- Each pair from both sides, so that the facts are read once; each told survivor beside itself, to know since when it is known.
sides AS (
    SELECT p.name, p.other, p.alike, p.by_version, p.listed_at, s.is_name, CASE WHEN s.is_name THEN p.name ELSE p.other END AS patient_id
    FROM (VALUES (true), (false)) AS s(is_name) CROSS JOIN pairs AS p
    UNION ALL
    SELECT survivor AS name, survivor AS other, false AS alike, false AS by_version, max(merged_at) AS listed_at, true AS is_name, survivor AS patient_id
    FROM edges GROUP BY survivor
),
stated AS (
    SELECT p.name, p.other, p.alike, p.by_version, p.listed_at,
           max(COALESCE(e.asserted_at, e.known_at)) FILTER (WHERE p.is_name AND e.code IN ('patient.identified', 'patient.deleted')) AS name_said_at,
           min(e.known_at) FILTER (WHERE p.is_name AND e.code = 'patient.identified') AS name_since,
           min(e.known_at) FILTER (WHERE NOT p.is_name AND e.code = 'patient.identified') AS other_since,
           last_value(e.text_value ORDER BY COALESCE(e.asserted_at, e.known_at), e.text_value)
               FILTER (WHERE p.is_name AND e.code = 'patient.birth_date') AS name_born,
           first_value(e.text_value ORDER BY COALESCE(e.asserted_at, e.known_at), e.text_value)
               FILTER (WHERE p.is_name AND e.code = 'patient.birth_date' AND e.text_value > '1901-01-01') AS name_first_born,
           last_value(e.text_value ORDER BY COALESCE(e.asserted_at, e.known_at), e.text_value)
               FILTER (WHERE NOT p.is_name AND e.code = 'patient.birth_date') AS other_born
    FROM sides AS p JOIN standing_events AS e ON e.patient_id = p.patient_id
    WHERE e.code IN ('patient.identified', 'patient.birth_date', 'patient.deleted')
    GROUP BY p.name, p.other, p.alike, p.by_version, p.listed_at
),
tied AS (
    SELECT name, other, listed_at, name_since, other_since, name_first_born, name_born, other_born
    FROM (
        SELECT name, other, alike, listed_at, name_since, COALESCE(other_since, name_since) AS other_since, name_first_born,
               CASE WHEN name_born > '1901-01-01' THEN name_born END AS name_born, CASE WHEN other_born > '1901-01-01' THEN other_born END AS other_born
        FROM stated WHERE name_since IS NOT NULL AND (other_since IS NOT NULL OR name = other) AND (NOT by_version OR listed_at = name_said_at)
    ) AS dated
    WHERE CASE WHEN alike THEN name_born = other_born AND character_length(name_born) = 10
               ELSE COALESCE(starts_with(name_born, other_born) OR starts_with(other_born, name_born)
                             OR starts_with(name_first_born, other_born) OR starts_with(other_born, name_first_born), true) END
),
unlinked AS (
    SELECT patient_id AS one, patient_identity(facility, related) AS other, max(COALESCE(asserted_at, known_at)) AS unlinked_at
    FROM standing_events
    WHERE code = 'patient.unlinked' AND related IS NOT NULL AND patient_id IS NOT NULL
    GROUP BY 1, 2
),
-- Structs in whatever order, of which the engine holds little; lists in an order would cost it some kilobytes a row.
resolved AS (
    SELECT unnest(person_roots(m.merges, l.listings, u.pairs)) AS person
    FROM (SELECT array_agg(named_struct('prior', prior, 'survivor', survivor, 'at', CAST(merged_at AS BIGINT))) AS merges FROM edges) AS m
    CROSS JOIN (SELECT array_agg(named_struct('one', one, 'other', other, 'at', CAST(unlinked_at AS BIGINT))) AS pairs FROM unlinked) AS u
    CROSS JOIN (
        SELECT array_agg(named_struct('name', name, 'other', other, 'listed_at', CAST(listed_at AS BIGINT), 'name_since', CAST(name_since AS BIGINT),
                                      'other_since', CAST(other_since AS BIGINT), 'name_first_born', name_first_born, 'name_born', name_born,
                                      'other_born', other_born)) AS listings
        FROM tied
    ) AS l
)
SELECT person['patient_id'] AS patient_id, person['survivor_id'] AS survivor_id
FROM resolved
WHERE person IS NOT NULL
