-- scored_prompts: one row per (task, stay, model) that was predicted live from its prompt note, whatever becomes of its label: scores are compared over
-- all that was asked, for why a stay is left out is said only once its label is mature.
-- A prediction that was published twice counts once; one that was taken back does not count.
-- What is small or kept stands first in each join: the engine builds its table of that one.
WITH published AS (
    SELECT *, row_number() OVER (PARTITION BY task, note_version_id, model_version ORDER BY predicted_at, known_at, source_partition, source_offset) AS copy
    FROM prediction_rows
    WHERE retracts IS NULL AND mode = 'live'
),
standing AS (
    SELECT p.task, p.note_version_id, p.model_version, p.probabilities, p.probability
    FROM (SELECT prediction_id FROM fallen_predictions WHERE because = 'retracted') AS f RIGHT ANTI JOIN published AS p ON p.prediction_id = f.prediction_id
    WHERE p.copy = 1
)
SELECT l.task, l.encounter_id, l.facility, p.model_version, date_trunc('month', l.prediction_at) AS month, l.label, l.mature_at, l.excluded_because,
       p.probabilities, p.probability
FROM labels AS l JOIN standing AS p ON p.task = l.task AND p.note_version_id = l.note_version_id
