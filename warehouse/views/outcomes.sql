-- outcomes: one row per stay that stands, with what labels and cohorts are made of, whether mature or not.
-- `died`: its disposition says so; where no disposition was stated, a death between admission and discharge does; one known to the day alone, where that day reaches into the stay.
-- `readmitted`: the patient's next episode began within 30 days of discharge. `returned_planned`: that stay had been announced as planned.
-- `department_kind`: of a department that is no acute care. `denied`: any claim that was not withdrawn was denied at first.
-- `claim_decided_at`: since when that is settled: by the first denial, else when the last claim was decided first. `claims_undecided`: those on which nobody has.
WITH people AS (
    SELECT p.patient_id, p.died_at, p.died_by_day, TRY_CAST(CASE WHEN character_length(p.birth_date) >= 10 THEN left(p.birth_date, 10) END AS DATE) AS born_on, s.survivor_id IS NOT NULL AS merged
    FROM patients AS p LEFT JOIN (SELECT DISTINCT survivor_id FROM survivors) AS s ON s.survivor_id = p.patient_id
),
ended AS (
    SELECT e.*, p.died_at, p.died_by_day, p.merged,
           COALESCE(lower(e.disposition) IN ('20', '40', '41', '42', 'exp', 'expired', 'died', 'dead', 'death', 'deceased', '371828006', '419099009'), false)
               OR COALESCE(e.disposition IS NULL AND p.died_at <= e.discharged_at
                   AND CASE WHEN p.died_by_day THEN p.died_at > e.admitted_at - INTERVAL '1 day' ELSE p.died_at >= e.admitted_at END, false) AS died,
           COALESCE(lower(e.disposition) IN ('50', '51', 'hosp', 'hospice'), false) AS hospice,
           COALESCE(p.born_on BETWEEN CAST(e.admitted_at - INTERVAL '1 day' AS DATE) AND CAST(e.admitted_at + INTERVAL '1 day' AS DATE), false) AS newborn,
           CAST(floor((CAST(e.discharged_at AS BIGINT) - CAST(e.admitted_at AS BIGINT)) / 86400000000.0) AS BIGINT) AS whole_days,
           (CAST(e.discharged_at AS BIGINT) - CAST(e.admitted_at AS BIGINT)) / 86400000000.0 AS days
    FROM encounters AS e LEFT JOIN people AS p ON p.patient_id = e.patient_id
),
coded AS (SELECT encounter_id, charlson(system || '/' || code) AS charlson_index FROM diagnoses WHERE system IN ('ICD9CM', 'ICD10CM') GROUP BY encounter_id),
claimed AS (
    SELECT encounter_id, count(*) AS claims, count(*) FILTER (WHERE status = 'cancelled') AS claims_cancelled,
           bool_or(initially_denied) FILTER (WHERE status <> 'cancelled') AS denied,
           count(*) FILTER (WHERE status IN ('submitted', 'pending') AND initially_denied IS NULL) AS claims_undecided,
           COALESCE(min(first_decided_at) FILTER (WHERE status <> 'cancelled' AND initially_denied),
                    max(first_decided_at) FILTER (WHERE status <> 'cancelled')) AS claim_decided_at
    FROM claims WHERE encounter_id IS NOT NULL GROUP BY encounter_id
),
planned_returns AS (
    SELECT DISTINCT e.patient_id, e.admitted_at FROM encounters AS e JOIN planned_stays AS p ON p.encounter_id = e.encounter_id
)
SELECT e.encounter_id, e.patient_id, e.facility, e.admitted_at, e.discharged_at, e.department, e.disposition, e.died, e.whole_days,
       COALESCE(p.next_admitted_at <= e.discharged_at + INTERVAL '30 days', false) AS readmitted, c.charlson_index, d.denied,
       p.next_admitted_at AS returned_at, r.patient_id IS NOT NULL AS returned_planned,
       p.episode_id, p.continued, p.transferred, p.overlaps, e.hospice, e.newborn, e.died_at, COALESCE(e.died_by_day, false) AS died_by_day, COALESCE(e.merged, false) AS patient_merged, k.kind AS department_kind,
       upper(e.class) IN ('O', 'OBS', 'OBSENC', 'SS', 'OBSERVATION') AS observation, e.days, n.encounter_id IS NOT NULL AS planned,
       COALESCE(d.claims, 0) AS claims, COALESCE(d.claims_cancelled, 0) AS claims_cancelled, COALESCE(d.claims_undecided, 0) AS claims_undecided,
       d.claim_decided_at
FROM ended AS e
JOIN episodes AS p ON p.encounter_id = e.encounter_id
LEFT JOIN coded AS c ON c.encounter_id = e.encounter_id
LEFT JOIN claimed AS d ON d.encounter_id = e.encounter_id
LEFT JOIN department_kinds AS k ON k.department = upper(e.department)
LEFT JOIN planned_stays AS n ON n.encounter_id = e.encounter_id
LEFT JOIN planned_returns AS r ON r.patient_id = e.patient_id AND r.admitted_at = p.next_admitted_at
