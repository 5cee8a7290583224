-- episodes: one row per stay, with the episode of care it is a part of. `continued`: the patient left this stay for another of its episode, so that the
-- episode's end is not here. `next_admitted_at`: when the patient's next episode begins.
WITH wholes AS (
    SELECT person, number, first_value(encounter_id ORDER BY admitted_at, encounter_id) AS episode_id, min(admitted_at) AS began_at, count(*) AS stays,
           CASE WHEN count(*) = count(discharged_at) THEN max(discharged_at) END AS ended_at,
           last_value(encounter_id ORDER BY discharged_at NULLS LAST, admitted_at, encounter_id) AS last_left
    FROM numbered_stays GROUP BY person, number
),
followed AS (SELECT *, lead(began_at) OVER (PARTITION BY person ORDER BY number) AS next_admitted_at FROM wholes)
SELECT n.encounter_id, f.episode_id, f.stays AS episode_stays, f.began_at AS episode_admitted_at, f.ended_at AS episode_discharged_at,
       n.encounter_id <> f.last_left AS continued, n.transferred, n.overlaps, f.next_admitted_at
FROM numbered_stays AS n JOIN followed AS f ON f.person = n.person AND f.number = n.number
