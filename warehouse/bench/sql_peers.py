#!/usr/bin/env python3
"""scikit-learn, SciPy and numpy over rows as `wardstream bench sql` makes them: one JSON object a figure, in the same field names.

    python3 -m venv venv && venv/bin/pip install scikit-learn scipy numpy
    venv/bin/python warehouse/bench/sql_peers.py [ROWS]

The bootstrap is the usual loop, of which ten resamples are timed and a thousand told.
"""
import json
import pathlib
import statistics
import sys
import time

import numpy as np
from scipy import stats
from sklearn.metrics import roc_auc_score

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
ROUNDS = 7
random = np.random.default_rng(0)
label = random.integers(0, 2, ROWS)
score = (random.standard_normal(ROWS) + 0.5 * label).astype(np.float32)
moved = score + np.float32(0.05)


def instruction_sets():
    flags = next((line for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), "").split()
    return " ".join(name for name in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "sha_ni") if name in flags)


def resample():
    chosen = random.integers(0, ROWS, ROWS)
    return roc_auc_score(label[chosen], score[chosen])


def psi(reference, current, bins=10):
    edges = np.quantile(reference, np.linspace(0, 1, bins + 1))
    edges[0], edges[-1] = -np.inf, np.inf
    p, q = (np.histogram(sample, edges)[0] / len(sample) for sample in (reference, current))
    return ((q - p) * np.log(q / p)).sum()


def tell(what, engine, work, times=1, rounds=ROUNDS):
    work()
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        taken.append(times * (time.perf_counter() - began))
    median = statistics.median(taken)
    print(json.dumps(dict(what=what, engine=engine, rows=ROWS, rows_per_second=round(ROWS / median), ms_median=round(1e3 * median, 1),
                          instruction_sets=instruction_sets())), flush=True)


tell("auroc", "scikit-learn", lambda: roc_auc_score(label, score))
tell("1000 bootstraps", "scikit-learn", resample, times=1_000, rounds=10)
tell("psi", "numpy", lambda: psi(score, moved))
tell("ks", "scipy", lambda: stats.ks_2samp(score, moved, method="asymp"), rounds=3)
tell("wasserstein", "scipy", lambda: stats.wasserstein_distance(score, moved), rounds=3)
