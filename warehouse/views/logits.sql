-- logits: one row per standing prediction of a prompt note: how high it scored its case, in logits. Of more than two classes, the expected one
-- as a share of the highest.
SELECT task, model_version, month, ln(score / (1.0 - score)) AS logit
FROM (
    SELECT task, model_version, month,
           greatest(0.002, least(0.998, (COALESCE(probabilities[2], 0.0) + 2.0 * COALESCE(probabilities[3], 0.0) + 3.0 * COALESCE(probabilities[4], 0.0)
                                         + 4.0 * COALESCE(probabilities[5], 0.0)) / (array_length(probabilities) - 1.0))) AS score
    FROM scored_prompts WHERE array_length(probabilities) BETWEEN 2 AND 5
) AS scored
