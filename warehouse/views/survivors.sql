-- survivors: one row per patient identity that another stands for now, however long the chain.
-- Of several told merges of one identity the newest counts. Where merges run in a circle the newest of them counts, and its survivor stands.
-- A number that had records of its own and is listed in one PID-3 with a better one (`patient.identified`, `own` or `alike`) is that one's person from when both are
-- known on; whoever was known first stands, so that nobody older changes. Not so where their birth dates differ (a mother's number with her newborn, a number that
-- was given again), nor, for `alike`, where not both state the same day; a year in which nobody alive was born is no date. Not so where the two were unlinked since, nor
-- for a number that is listed with more than sixteen others. One that is listed with several people joins none of them (`person_roots`).
WITH edges AS (
    SELECT patient_identity(facility, related) AS prior, patient_id AS survivor, max(COALESCE(asserted_at, known_at)) AS merged_at
    FROM standing_events
    WHERE code = 'patient.merged' AND related IS NOT NULL AND patient_id IS NOT NULL
    GROUP BY 1, 2
),
told AS (
    SELECT array_agg(prior ORDER BY merged_at, prior, survivor) AS priors, array_agg(survivor ORDER BY merged_at, prior, survivor) AS survivors FROM edges
),
listed AS (
    SELECT name, patient_identity(facility, related) AS other, alike, listed_at
    FROM (
        SELECT patient_id AS name, facility, related, bool_or(text_value = 'alike') AS alike, max(COALESCE(asserted_at, known_at)) AS listed_at
        FROM standing_events
        WHERE code = 'patient.identified' AND text_value IN ('own', 'alike') AND related IS NOT NULL AND patient_id IS NOT NULL
        GROUP BY patient_id, facility, related
    ) AS said
),
pairs AS (
    SELECT name, other, alike, listed_at
    FROM (SELECT *, count(*) OVER (PARTITION BY name) AS of_name, count(*) OVER (PARTITION BY other) AS of_other FROM listed) AS counted
    WHERE of_name <= 16 AND of_other <= 16 AND name <> other
),
-- Each pair from both sides, so that the facts are read once.
sides AS (
    SELECT p.name, p.other, p.alike, p.listed_at, s.is_name, CASE WHEN s.is_name THEN p.name ELSE p.other END AS patient_id
    FROM (VALUES (true), (false)) AS s(is_name) CROSS JOIN pairs AS p
),
stated AS (
    SELECT p.name, p.other, p.alike, p.listed_at,
           min(e.known_at) FILTER (WHERE p.is_name AND e.code = 'patient.identified') AS name_since,
           min(e.known_at) FILTER (WHERE NOT p.is_name AND e.code = 'patient.identified') AS other_since,
           last_value(e.text_value ORDER BY COALESCE(e.asserted_at, e.known_at), e.text_value)
               FILTER (WHERE p.is_name AND e.code = 'patient.birth_date') AS name_born,
           last_value(e.text_value ORDER BY COALESCE(e.asserted_at, e.known_at), e.text_value)
               FILTER (WHERE NOT p.is_name AND e.code = 'patient.birth_date') AS other_born
    FROM sides AS p JOIN standing_events AS e ON e.patient_id = p.patient_id
    WHERE e.code IN ('patient.identified', 'patient.birth_date')
    GROUP BY p.name, p.other, p.alike, p.listed_at
),
dated AS (
    SELECT name, other, alike, listed_at, CAST(name_since AS BIGINT) AS name_since, CAST(other_since AS BIGINT) AS other_since,
           CASE WHEN name_born > '1901-01-01' THEN name_born END AS name_born, CASE WHEN other_born > '1901-01-01' THEN other_born END AS other_born
    FROM stated WHERE name_since IS NOT NULL AND other_since IS NOT NULL
),
unlinked AS (
    SELECT one, other, max(unlinked_at) AS unlinked_at
    FROM (
        SELECT patient_id AS one, patient_identity(facility, related) AS other, COALESCE(asserted_at, known_at) AS unlinked_at
        FROM standing_events WHERE code = 'patient.unlinked' AND related IS NOT NULL AND patient_id IS NOT NULL
        UNION ALL
        SELECT patient_identity(facility, related) AS one, patient_id AS other, COALESCE(asserted_at, known_at) AS unlinked_at
        FROM standing_events WHERE code = 'patient.unlinked' AND related IS NOT NULL AND patient_id IS NOT NULL
    ) AS said
    GROUP BY one, other
),
tied AS (
    SELECT d.name, d.other, d.name_since, d.other_since
    FROM unlinked AS u RIGHT JOIN dated AS d ON u.one = d.name AND u.other = d.other
    WHERE COALESCE(d.listed_at > u.unlinked_at, true)
      AND CASE WHEN d.alike THEN d.name_born = d.other_born AND character_length(d.name_born) = 10
               ELSE COALESCE(starts_with(d.name_born, d.other_born) OR starts_with(d.other_born, d.name_born), true) END
),
resolved AS (
    SELECT unnest(person_roots(t.priors, t.survivors, l.names, l.others, l.name_since, l.other_since)) AS person
    FROM told AS t
    CROSS JOIN (
        SELECT array_agg(name ORDER BY name, other) AS names, array_agg(other ORDER BY name, other) AS others,
               array_agg(name_since ORDER BY name, other) AS name_since, array_agg(other_since ORDER BY name, other) AS other_since
        FROM tied
    ) AS l
)
SELECT person['patient_id'] AS patient_id, person['survivor_id'] AS survivor_id
FROM resolved
WHERE person IS NOT NULL
