-- episodes: one row per stay, with the episode of care it is a part of. A patient's next stay belongs to the same episode where it begins before or when the last
-- ends (overlapping stays, a move under another number), or within a day after a transfer to another hospital. `continued`: the patient left this stay for
-- another of its episode, so that the episode's end is not here. `next_admitted_at`: when the patient's next episode begins.
-- A stay whose end nobody stated lasts until the next begins.
WITH ends AS (
    SELECT encounter_id, COALESCE(patient_id, encounter_id) AS person, admitted_at, discharged_at,
           lower(disposition) IN ('02', '05', '43', '62', '63', '65', '66', '82', '85', '88', '90', '91', '93', '94', 'other-hcf', 'rehab', 'psy') AS transferred
    FROM encounters
),
reached AS (
    SELECT *, max(COALESCE(discharged_at, admitted_at)) OVER before AS ended_by,
           max(COALESCE(discharged_at + CASE WHEN transferred THEN INTERVAL '1 day' ELSE INTERVAL '0 days' END, admitted_at)) OVER before AS held_until,
           lead(admitted_at) OVER (PARTITION BY person ORDER BY admitted_at, encounter_id) AS following_at
    FROM ends WINDOW before AS (PARTITION BY person ORDER BY admitted_at, encounter_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
),
numbered AS (
    SELECT *, sum(CASE WHEN held_until IS NULL OR admitted_at > held_until THEN 1 ELSE 0 END)
                  OVER (PARTITION BY person ORDER BY admitted_at, encounter_id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS number
    FROM reached
),
placed AS (
    SELECT *, row_number() OVER (PARTITION BY person, number ORDER BY discharged_at DESC NULLS FIRST, admitted_at DESC, encounter_id DESC) AS from_end
    FROM numbered
),
wholes AS (
    SELECT person, number, first_value(encounter_id ORDER BY admitted_at, encounter_id) AS episode_id, min(admitted_at) AS began_at, count(*) AS stays,
           CASE WHEN count(*) = count(discharged_at) THEN max(discharged_at) END AS ended_at
    FROM numbered GROUP BY person, number
),
followed AS (SELECT *, lead(began_at) OVER (PARTITION BY person ORDER BY number) AS next_admitted_at FROM wholes)
SELECT p.encounter_id, f.episode_id, f.stays AS episode_stays, f.began_at AS episode_admitted_at, f.ended_at AS episode_discharged_at,
       p.from_end > 1 AS continued, COALESCE(p.transferred, false) AS transferred,
       COALESCE(p.admitted_at < p.ended_by OR p.following_at < p.discharged_at, false) AS overlaps, f.next_admitted_at
FROM placed AS p JOIN followed AS f ON f.person = p.person AND f.number = p.number
