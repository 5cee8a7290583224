-- asked_stays: one row per (task, stay), before anybody waits for anything: what is asked of which note, what came to be, when horizon and stay are over, and why the
-- stay is left out. `labels` are these once they are mature.
-- It is asked once for each task, one after the other, with what the task's file says in the place of `$task`, `$kind` (of note), `$clock`, `$horizon` and
-- `$classes`, and the outcome of each stay in that of `$outcomes`: the memory of its joins is that of one task.
-- The side that is small or kept stands first in each join: the engine builds its table of that one.
WITH answered AS (
    SELECT c.encounter_id, c.patient_id, c.facility, c.admitted_at, c.discharged_at, c.gone_because,
           o.encounter_id IS NOT NULL AS answered, o.outcome, o.outcome_at, o.excluded_because, o.waits, o.copies
    FROM $outcomes AS o RIGHT JOIN cohort AS c ON o.encounter_id = c.encounter_id
),
prompts AS (SELECT encounter_id, note_id, note_version_id, prediction_at FROM prompt_notes WHERE kind = $kind)
SELECT $task AS task, $classes AS classes, a.encounter_id, a.patient_id, a.facility, a.gone_because, p.note_id, p.note_version_id, p.prediction_at,
       a.outcome, a.outcome_at, COALESCE(a.waits, false) AND a.gone_because IS NULL AS waits,
       CASE WHEN $clock <> 'prediction' OR p.prediction_at IS NOT NULL
            THEN greatest(CASE $clock WHEN 'discharge' THEN a.discharged_at WHEN 'prediction' THEN p.prediction_at ELSE a.admitted_at END + $horizon, a.discharged_at)
       END AS over_at,
       CASE WHEN a.gone_because IS NOT NULL THEN a.gone_because
            WHEN NOT a.answered THEN 'not_asked'
            WHEN a.copies > 1 THEN 'asked_twice'
            WHEN a.waits THEN NULL
            WHEN a.excluded_because IS NOT NULL THEN a.excluded_because
            WHEN a.outcome IS NULL OR isnan(a.outcome) OR a.outcome_at IS NULL THEN 'no_outcome'
            WHEN $classes IS NOT NULL AND (a.outcome < 0 OR a.outcome >= $classes OR a.outcome <> floor(a.outcome)) THEN 'no_such_class'
            WHEN a.outcome_at <= p.prediction_at THEN 'outcome_before_prediction'
            WHEN $kind = 'admission' AND a.discharged_at <= p.prediction_at THEN 'note_after_discharge'
       END AS because
FROM prompts AS p RIGHT JOIN answered AS a ON p.encounter_id = a.encounter_id
