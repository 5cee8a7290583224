#!/usr/bin/env python3
"""Writes measures.json beside itself: random predictions and distributions with what scikit-learn, SciPy and numpy say of them.

    python3 -m venv venv && venv/bin/pip install scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6
    venv/bin/python measures.py

What those have no function for is computed here from its definition, pair by pair: DeLong's deviation, the expected calibration error,
the population stability index, and the bootstrap over the same random numbers.
"""
import json
import pathlib
import warnings

import numpy as np
from scipy import stats
from scipy.spatial import distance
from sklearn import calibration, metrics, preprocessing

BINS = 15
warnings.filterwarnings("ignore")
random = np.random.default_rng(20_05)


def bins_of(score):
    return np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], score)


def ece(hit, score, weight):
    bins = bins_of(score)
    apart = sum(abs(np.sum(weight[bins == b] * (score - hit)[bins == b])) for b in range(BINS))
    return apart / weight.sum()


def curve(hit, score, weight):
    """n, mean score, observed share of each bin; scikit-learn's own curve must agree where it can be asked."""
    bins, rows = bins_of(score), []
    for b in range(BINS):
        at = bins == b
        total = weight[at].sum()
        rows.append([int(at.sum()), float((weight * score)[at].sum() / total), float((weight * hit)[at].sum() / total)] if total > 0 else [int(at.sum()), None, None])
    if (weight == 1).all():
        share, mean = calibration.calibration_curve(hit, score, n_bins=BINS)
        filled = [row for row in rows if row[0]]
        assert np.allclose([row[1] for row in filled], mean, atol=1e-12) and np.allclose([row[2] for row in filled], share, atol=1e-12)
    return rows


def delong(hit, score):
    """The deviation by its definition: every pair, and the variance of each side's placements."""
    won = (score[hit == 1][:, None] > score[hit == 0]) + 0.5 * (score[hit == 1][:, None] == score[hit == 0])
    return float(np.sqrt(won.mean(axis=1).var(ddof=1) / won.shape[0] + won.mean(axis=0).var(ddof=1) / won.shape[1]))


M64 = (1 << 64) - 1
STEP = 0x9E3779B97F4A7C15


def mixed(state):
    state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & M64
    state = (state ^ state >> 27) * 0x94D049BB133111EB & M64
    return state ^ state >> 31


def drawn(seed, stream, rows):
    state = mixed((seed + STEP) & M64) ^ mixed((stream * STEP + STEP) & M64)
    for _ in range(rows):
        state = (state + STEP) & M64
        yield mixed(state) * rows >> 64


def bootstrap(hit, score, weight, resamples, seed):
    """scikit-learn over the very rows that SplitMix64 draws; rows stand in the order of score, hit, weight."""
    order = np.lexsort((weight, hit, score))
    order = order[weight[order] > 0]
    hit, score, weight = hit[order], score[order], weight[order]
    areas = []
    for stream in range(resamples):
        rows = list(drawn(seed, stream, len(hit)))
        if len(set(hit[rows])) == 2:
            areas.append(metrics.roc_auc_score(hit[rows], score[rows], sample_weight=weight[rows]))
    return float(np.std(areas, ddof=1)) if len(areas) > 1 else None


def weights(count, style):
    return [np.ones(count), random.integers(0, 4, count).astype(float), np.round(random.gamma(1.0, 2.0, count), 3)][style]


def binary(case):
    count = int(random.integers(6, 100))
    hit = (random.random(count) < random.choice([0.05, 0.3, 0.5])).astype(int)
    score = np.round(np.clip(random.normal(0.35 + 0.2 * hit, 0.25), 0, 1), [1, 2, 6][case % 3])
    if case % 7 == 0:
        hit[:] = case % 2
    weight = weights(count, case % 4 if case % 4 < 3 else 0)
    threshold = float(np.round(random.random(), 1))
    hits, misses = weight[hit == 1].sum(), weight[hit == 0].sum()
    above = score >= threshold
    both = hits > 0 and misses > 0
    deviation = None if (weight != 1).any() or min((hit == 0).sum(), (hit == 1).sum()) < 2 else delong(hit, score)
    sampled = lambda of: float(of(hit, score, sample_weight=weight))
    return dict(
        label=hit.tolist(), score=score.tolist(), weight=None if (weight == 1).all() else weight.tolist(), threshold=threshold,
        auroc=sampled(metrics.roc_auc_score) if both else None,
        auprc=sampled(metrics.average_precision_score) if hits > 0 else None,
        brier=sampled(metrics.brier_score_loss),
        log_loss=float(metrics.log_loss(hit, score, sample_weight=weight, labels=[0, 1])),
        ece=ece(hit, score, weight),
        calibration=curve(hit, score, weight),
        sensitivity=float(metrics.recall_score(hit, above, sample_weight=weight)) if hits > 0 else None,
        ppv=float(metrics.precision_score(hit, above, sample_weight=weight)) if weight[above].sum() > 0 else None,
        delong=deviation,
        bootstrap=bootstrap(hit, score, weight, 40, case) if case % 5 == 0 and both else None,
    )


def several(case):
    classes, count = int(random.integers(3, 7)), int(random.integers(30, 70))
    label = np.concatenate([np.arange(classes), random.integers(0, classes, count - classes)])
    if case % 4 == 0:
        label[label == classes - 1] = 0
    leaning = random.dirichlet(np.ones(classes), count) + 0.5 * np.eye(classes)[label] * random.random((count, 1))
    parts = [10, 1000][case % 2]
    probabilities = random.multinomial(parts, leaning / leaning.sum(axis=1, keepdims=True)) / parts
    weight = weights(count, case % 3)
    weight[:classes] = np.maximum(weight[:classes], 1)
    occurs = np.unique(label)
    truth = preprocessing.label_binarize(label, classes=np.arange(classes))
    if len(occurs) == classes:
        auroc = metrics.roc_auc_score(label, probabilities, multi_class="ovr", average="macro", sample_weight=weight)
        brier = metrics.brier_score_loss(label, probabilities, sample_weight=weight, scale_by_half=False)
    else:
        auroc = np.mean([metrics.roc_auc_score(truth[:, c], probabilities[:, c], sample_weight=weight) for c in occurs])
        brier = np.average(((probabilities - truth) ** 2).sum(axis=1), weights=weight)
    best = probabilities.argmax(axis=1)
    right = (best == label).astype(int)
    auprc = np.mean([metrics.average_precision_score(truth[:, c], probabilities[:, c], sample_weight=weight) for c in occurs])
    return dict(
        label=label.tolist(), probabilities=probabilities.tolist(), weight=None if (weight == 1).all() else weight.tolist(),
        auroc=float(auroc), auprc=float(auprc), brier=float(brier),
        log_loss=float(metrics.log_loss(label, probabilities, sample_weight=weight, labels=np.arange(classes))),
        ece=ece(right, probabilities.max(axis=1), weight),
    )


def shares(reference, current, bins):
    edges = np.quantile(reference, np.linspace(0, 1, bins + 1))
    edges[0], edges[-1] = -np.inf, np.inf
    edges = np.unique(edges)
    return [np.histogram(sample, edges)[0] / len(sample) for sample in (reference, current)]


def distributions(case):
    digits = [0, 1, 6][case % 3]
    reference = np.round(random.normal(0, 1 + case % 2, int(random.integers(1, 200))), digits)
    current = np.round(random.normal(0.3 * (case % 4), 1, int(random.integers(1, 200))), digits)
    if case % 9 == 0:
        reference[:] = reference[0]
    bins = [10, 4, 20][case % 3]
    p, q = shares(reference, current, bins)
    filled = [np.where(side == 0, 0.0001, side) for side in (p, q)]
    return dict(
        reference=reference.tolist(), current=current.tolist(), bins=bins,
        psi=float(np.sum((filled[1] - filled[0]) * np.log(filled[1] / filled[0]))),
        js=float(distance.jensenshannon(p, q)),
        ks=float(stats.ks_2samp(reference, current).statistic),
        wasserstein=float(stats.wasserstein_distance(reference, current)),
    )


def packed(case):
    return json.dumps({name: value for name, value in case.items()}, separators=(",", ":"), allow_nan=False)


lines = [json.dumps(kind) + ":[\n" + ",\n".join(packed(of(case)) for case in range(count)) + "\n]"
         for kind, of, count in (("binary", binary, 42), ("several", several, 16), ("distributions", distributions, 30))]
target = pathlib.Path(__file__).with_name("measures.json")
target.write_text("{" + ",\n".join(lines) + "}\n")
print(target.name, target.stat().st_size, "bytes")
