-- numbered_stays: one row per stay, with the number of the episode of care that it is a part of, from 1, among its patient's. The next stay belongs to the same
-- episode where it begins before or when the last ends (overlapping stays, a move under another number), or within a day after a transfer to another hospital.
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
)
SELECT encounter_id, person, admitted_at, discharged_at, COALESCE(transferred, false) AS transferred,
       COALESCE(admitted_at < ended_by OR following_at < discharged_at, false) AS overlaps,
       sum(CASE WHEN held_until IS NULL OR admitted_at > held_until THEN 1 ELSE 0 END)
           OVER (PARTITION BY person ORDER BY admitted_at, encounter_id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS number
FROM reached
