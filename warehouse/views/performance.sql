-- performance: one row per (task, model, month of prediction), from mature labels only.
SELECT task, model_version, month, count(label) AS n, count(*) FILTER (WHERE label > 0) AS positives, count(*) FILTER (WHERE label IS NULL) AS immature,
       auroc_ovr(label, probabilities) AS auroc,
       greatest(0.0, auroc_ovr(label, probabilities) - 1.96 * auroc_error(label, probabilities)) AS auroc_low,
       least(1.0, auroc_ovr(label, probabilities) + 1.96 * auroc_error(label, probabilities)) AS auroc_high,
       auroc_error(label, probabilities) AS auroc_error,
       auprc(label, probabilities) AS auprc, brier(label, probabilities) AS brier, ece(label, probabilities) AS ece
FROM judged
GROUP BY task, model_version, month
