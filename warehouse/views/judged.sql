-- judged: one row per (task, stay, model) that was predicted live from its prompt note and is not left out, with the label where it is mature.
SELECT task, encounter_id, facility, model_version, month, label, mature_at, probabilities, probability FROM scored_prompts WHERE excluded_because IS NULL
