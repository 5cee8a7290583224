-- rows of a MEDS dataset: one row per fact of a living identity, merges resolved; what was taken back is not there.
-- Coming, going, birth and death stand at their own time, whenever it was told; a death of which the day alone was stated, or that is stated to precede the
-- stay that ends on its day, stands at the end of that stay: nothing of the stay came after it. All else stands at the instant at which it became known, so
-- that whoever reads up to a time sees nothing that was told later. `WATERMARK` is how far the patient's facility is known.
-- The rest are no facts but marks for choosing cohorts: not to be learned from. ACES counts by instant and looks for the next event of a kind, so of a person's
-- stays, which may overlap, each has its marks where no other's are: `STAY_BEGIN` at its admission, or three microseconds after the one before where that is
-- no earlier; `STAY_END` and `STAY_DAYS`, which tell how it ends and after how many whole days, at its discharge, or two microseconds before the next
-- `STAY_BEGIN` (a window that is closed at its end may end a microsecond before its trigger), and never before one microsecond after its own.
-- `EPISODE_BEGIN` and `EPISODE_END` stand at the admission that is a return and at the discharge that is asked about one; of one person no two share an instant.
-- `MATURE` and `EXCLUDED` stand at `EPISODE_END` for readmission and else at `STAY_BEGIN`. A stay whose discharge is stated to lie before its admission has no
-- end, and no discharge.
-- What is of a stay is its patient's: senders name a person by one number here and by another there, and a stay may be moved to another.
-- `tie` tells rows apart that are equal but for it; the same tie twice is the same fact twice. Of a note it is the version, by which its text is found.
WITH codes AS (
    SELECT patient_id, encounter_id, text_value, code, min(known_at) AS known_at, min(numeric_value) AS rank,
           left(text_value, character_length(text_value) - character_length(substr_index(text_value, '/', -1)) - 1) AS system,
           substr_index(text_value, '/', -1) AS bare
    FROM (
        SELECT COALESCE(s.patient_id, f.patient_id) AS patient_id, f.encounter_id, f.text_value, f.code, f.known_at, f.numeric_value
        FROM stays AS s RIGHT JOIN events AS f ON s.encounter_id = f.encounter_id
        WHERE f.code IN ('encounter.diagnosed', 'encounter.procedure') AND f.text_value IS NOT NULL
    ) AS coded
    WHERE patient_id IS NOT NULL
    GROUP BY patient_id, encounter_id, text_value, code
),
-- The class under which a stay began, as whoever admitted the patient knew it: the last that had been stated then, else the first that was.
admitted AS (
    SELECT encounter_id, min(asserted_at) AS asserted_at
    FROM events WHERE code IN ('encounter.admitted', 'encounter.admission_stated') AND encounter_id IS NOT NULL GROUP BY encounter_id
),
began AS (
    SELECT c.encounter_id,
           COALESCE(last_value(c.text_value ORDER BY c.asserted_at, c.text_value) FILTER (WHERE c.asserted_at <= a.asserted_at),
                    first_value(c.text_value ORDER BY c.asserted_at, c.text_value)) AS class
    FROM admitted AS a JOIN events AS c ON a.encounter_id = c.encounter_id
    WHERE c.code = 'encounter.class' AND c.text_value IS NOT NULL
    GROUP BY c.encounter_id
),
-- Deaths known to the day alone, and when the stay that reaches into that day has ended; the day ends where it has not.
lain AS (
    SELECT p.patient_id, p.died_at, max(COALESCE(e.discharged_at, p.died_at + INTERVAL '1 day' - INTERVAL '1 microsecond')) AS left_at
    FROM patients AS p
    JOIN encounters AS e ON e.patient_id = p.patient_id AND e.admitted_at < p.died_at + INTERVAL '1 day'
                        AND COALESCE(e.discharged_at >= p.died_at AND e.discharged_at >= e.admitted_at, e.discharged_at IS NULL)
    WHERE p.died_by_day
    GROUP BY p.patient_id, p.died_at
),
-- Microseconds at which the marks of a stay stand.
begun AS (
    SELECT encounter_id, patient_id, discharged_at, nth,
           max(CAST(admitted_at AS BIGINT) - 3 * nth) OVER (PARTITION BY patient_id ORDER BY nth ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) + 3 * nth AS begins
    FROM (SELECT *, CAST(row_number() OVER (PARTITION BY patient_id ORDER BY admitted_at, encounter_id) AS BIGINT) AS nth FROM encounters WHERE patient_id IS NOT NULL) AS numbered
),
marked AS (
    SELECT encounter_id, patient_id, begins,
           greatest(begins + 1, least(CAST(discharged_at AS BIGINT), lead(begins) OVER (PARTITION BY patient_id ORDER BY nth) - 2)) AS ends
    FROM begun
),
ended AS (
    SELECT e.*, m.ends, o.whole_days, o.continued, COALESCE(e.disposition, CASE WHEN o.died THEN 'DIED' ELSE 'UNKNOWN' END) AS outcome
    FROM encounters AS e
    JOIN outcomes AS o ON o.encounter_id = e.encounter_id
    JOIN marked AS m ON m.encounter_id = e.encounter_id
    WHERE e.discharged_at >= e.admitted_at
),
-- Which stays a task asks about where their marks stand: readmission asks the end of an episode alone.
asked AS (
    SELECT l.task, l.patient_id, l.encounter_id, l.excluded_because, COALESCE(l.mature_at <= w.watermark AND (l.value IS NOT NULL OR l.excluded_because IS NOT NULL), false) AS mature,
           CASE l.task WHEN 'readmission' THEN CAST(o.discharged_at AS BIGINT) ELSE m.begins END AS at
    FROM labels AS l
    JOIN outcomes AS o ON o.encounter_id = l.encounter_id
    JOIN marked AS m ON m.encounter_id = l.encounter_id
    JOIN watermarks AS w ON w.facility = l.facility
    WHERE o.discharged_at IS NOT NULL AND (l.task <> 'readmission' OR (o.discharged_at >= o.admitted_at AND NOT o.continued))
),
cancelled AS (SELECT encounter_id, max(asserted_at) AS asserted_at FROM events WHERE code = 'encounter.transfer_cancelled' GROUP BY encounter_id),
born AS (
    SELECT patient_id, birth_date,
           TRY_CAST(CASE character_length(birth_date) WHEN 4 THEN birth_date || '-01-01' WHEN 7 THEN birth_date || '-01' ELSE birth_date END AS TIMESTAMP) AS born_at
    FROM patients
),
told AS (
    SELECT COALESCE(e.patient_id, f.patient_id) AS patient_id, f.facility, f.code, f.text_value, f.known_at, f.asserted_at, f.event_id,
           COALESCE(f.encounter_id, c.encounter_id) AS encounter_id
    FROM events AS f
    LEFT JOIN claims AS c ON c.claim_id = f.facility || '/' || f.related AND f.code IN ('claim.submitted', 'claim.decided')
    LEFT JOIN stays AS e ON e.encounter_id = COALESCE(f.encounter_id, c.encounter_id)
    WHERE f.code <> 'patient.identified' AND COALESCE(e.patient_id, f.patient_id) IS NOT NULL
),
written AS (
    SELECT COALESCE(e.patient_id, v.patient_id) AS patient_id, v.facility, v.note_version_id, v.known_at, v.kind, p.encounter_id
    FROM note_versions AS v
    JOIN note_places AS p ON p.note_id = v.note_id
    LEFT JOIN encounters AS e ON e.encounter_id = p.encounter_id
    WHERE NOT v.retracted AND COALESCE(e.patient_id, v.patient_id) IS NOT NULL
),
seen AS (
    SELECT DISTINCT patient_id, facility FROM told
    UNION SELECT DISTINCT patient_id, facility FROM written
)
SELECT patient_id, arrow_cast(born_at, 'Timestamp(µs, "UTC")') AS time, 'MEDS_BIRTH' AS code, CAST(NULL AS DOUBLE) AS numeric_value, birth_date AS text_value,
       CAST(NULL AS VARCHAR) AS encounter_id, arrow_cast(NULL, 'Timestamp(µs, "UTC")') AS known_at, '' AS tie
FROM born WHERE born_at IS NOT NULL
UNION ALL
SELECT patient_id, NULL AS time, 'SEX//' || sex AS code, NULL AS numeric_value, NULL AS text_value, NULL AS encounter_id, NULL AS known_at, '' AS tie
FROM patients WHERE sex IS NOT NULL
UNION ALL
SELECT patient_id, NULL AS time, 'RACE//' || race AS code, NULL AS numeric_value, NULL AS text_value, NULL AS encounter_id, NULL AS known_at, '' AS tie
FROM patients WHERE race IS NOT NULL
UNION ALL
SELECT p.patient_id, CASE WHEN p.died_by_day THEN COALESCE(l.left_at, p.died_at) ELSE p.died_at END AS time,
       'MEDS_DEATH' AS code, NULL AS numeric_value, NULL AS text_value, NULL AS encounter_id, NULL AS known_at, '' AS tie
FROM patients AS p LEFT JOIN lain AS l ON l.patient_id = p.patient_id
WHERE p.died_at IS NOT NULL
UNION ALL
SELECT e.patient_id, e.admitted_at AS time, 'HOSPITAL_ADMISSION//' || COALESCE(b.class, 'UNKNOWN') AS code, NULL AS numeric_value, NULL AS text_value,
       e.encounter_id, NULL AS known_at, '' AS tie
FROM encounters AS e LEFT JOIN began AS b ON b.encounter_id = e.encounter_id
WHERE e.patient_id IS NOT NULL
UNION ALL
SELECT patient_id, discharged_at AS time, 'HOSPITAL_DISCHARGE//' || COALESCE(disposition, 'UNKNOWN') AS code, NULL AS numeric_value, NULL AS text_value,
       encounter_id, NULL AS known_at, '' AS tie
FROM ended
UNION ALL
SELECT patient_id, discharged_at AS time, 'DISCHARGED_FROM//' || department AS code, NULL AS numeric_value, NULL AS text_value,
       encounter_id, NULL AS known_at, '' AS tie
FROM ended WHERE department IS NOT NULL
UNION ALL
SELECT c.patient_id, c.known_at AS time, 'DIAGNOSIS//' || c.system || '//' || c.bare AS code, d.rank AS numeric_value, NULL AS text_value,
       c.encounter_id, c.known_at AS known_at, '' AS tie
FROM codes AS c
JOIN diagnoses AS d ON d.encounter_id = c.encounter_id AND d.system = c.system AND d.code = c.bare
WHERE c.code = 'encounter.diagnosed'
UNION ALL
SELECT c.patient_id, c.known_at AS time, 'PROCEDURE//' || c.system || '//' || c.bare AS code, c.rank AS numeric_value, NULL AS text_value,
       c.encounter_id, c.known_at AS known_at, '' AS tie
FROM codes AS c
LEFT JOIN (SELECT DISTINCT encounter_id, system, code FROM procedures) AS p ON p.encounter_id = c.encounter_id AND p.system = c.system AND p.code = c.bare
WHERE c.code = 'encounter.procedure' AND (p.encounter_id IS NOT NULL OR c.encounter_id IS NULL)
UNION ALL
SELECT e.patient_id, e.known_at AS time, 'TRANSFER//' || COALESCE(e.text_value, 'UNKNOWN') AS code, NULL AS numeric_value, NULL AS text_value,
       e.encounter_id, e.known_at AS known_at, e.event_id AS tie
FROM told AS e LEFT JOIN cancelled AS c ON c.encounter_id = e.encounter_id
WHERE e.code = 'encounter.transferred' AND (c.asserted_at IS NULL OR e.asserted_at > c.asserted_at)
UNION ALL
SELECT patient_id, known_at AS time, CASE code WHEN 'encounter.registered' THEN 'VISIT_REGISTRATION' WHEN 'claim.submitted' THEN 'CLAIM_SUBMISSION'
       ELSE 'CLAIM_DECISION//' || COALESCE(text_value, 'UNKNOWN') END AS code, NULL AS numeric_value, NULL AS text_value,
       encounter_id, known_at AS known_at, event_id AS tie
FROM told WHERE code IN ('encounter.registered', 'claim.submitted', 'claim.decided')
UNION ALL
SELECT v.patient_id, v.known_at AS time, 'NOTE//' || v.kind AS code, NULL AS numeric_value, NULL AS text_value,
       v.encounter_id, v.known_at AS known_at, v.note_version_id AS tie
FROM written AS v
UNION ALL
SELECT s.patient_id, w.watermark AS time, 'WATERMARK' AS code, NULL AS numeric_value, NULL AS text_value,
       NULL AS encounter_id, NULL AS known_at, s.facility AS tie
FROM seen AS s JOIN watermarks AS w ON w.facility = s.facility
UNION ALL
SELECT patient_id, arrow_cast(begins, 'Timestamp(µs, "UTC")') AS time, 'STAY_BEGIN' AS code, NULL AS numeric_value, NULL AS text_value,
       encounter_id, NULL AS known_at, '' AS tie
FROM marked
UNION ALL
SELECT patient_id, arrow_cast(ends, 'Timestamp(µs, "UTC")') AS time, 'STAY_END//' || outcome AS code, NULL AS numeric_value, NULL AS text_value,
       encounter_id, NULL AS known_at, '' AS tie
FROM ended
UNION ALL
SELECT patient_id, arrow_cast(ends, 'Timestamp(µs, "UTC")') AS time, 'STAY_DAYS//' || whole_days AS code, NULL AS numeric_value, NULL AS text_value,
       encounter_id, NULL AS known_at, '' AS tie
FROM ended
UNION ALL
SELECT patient_id, admitted_at AS time, 'EPISODE_BEGIN' AS code, NULL AS numeric_value, NULL AS text_value,
       encounter_id, NULL AS known_at, '' AS tie
FROM outcomes WHERE encounter_id = episode_id AND patient_id IS NOT NULL
UNION ALL
SELECT patient_id, discharged_at AS time, 'EPISODE_END//' || COALESCE(disposition, 'UNKNOWN') AS code, NULL AS numeric_value, NULL AS text_value,
       encounter_id, NULL AS known_at, '' AS tie
FROM ended WHERE NOT continued
UNION ALL
SELECT patient_id, discharged_at AS time, 'EPISODE_END_FROM//' || department AS code, NULL AS numeric_value, NULL AS text_value,
       encounter_id, NULL AS known_at, '' AS tie
FROM ended WHERE NOT continued AND department IS NOT NULL
UNION ALL
SELECT patient_id, arrow_cast(at, 'Timestamp(µs, "UTC")') AS time, 'MATURE//' || task AS code, NULL AS numeric_value, NULL AS text_value,
       encounter_id, NULL AS known_at, '' AS tie
FROM asked WHERE mature AND patient_id IS NOT NULL
UNION ALL
SELECT patient_id, arrow_cast(at, 'Timestamp(µs, "UTC")') AS time, 'EXCLUDED//' || task || '//' || excluded_because AS code, NULL AS numeric_value, NULL AS text_value,
       encounter_id, NULL AS known_at, '' AS tie
FROM asked WHERE excluded_because IS NOT NULL AND patient_id IS NOT NULL
