#!/usr/bin/env python3
"""The model's path beside its peers on this machine, with random weights of one shape: ours and each peer's turn by turn in one run.

    python -m venv venv && venv/bin/pip install torch transformers onnx onnxscript onnxruntime ctranslate2 gguf
    CMAKE_ARGS="-DGGML_NATIVE=ON -DCMAKE_BUILD_TYPE=Release" venv/bin/pip install --no-binary llama-cpp-python llama-cpp-python
    venv/bin/python scorer/model/bench/peers.py --wardstream PATH > figures.ndjson

Tried with torch 2.15.0, transformers 5.24.0, onnx 1.23.2, onnxscript 0.7.2, onnxruntime 1.32.0, ctranslate2 4.8.5, gguf 0.19.0, llama-cpp-python 0.3.36.

One JSON object for ours and one for the peer of each pair on stdout, with the fields of `wardstream bench model`; a table of ratios on stderr at the end.
Every engine sits in a process of its own, which is stopped while the other side measures, so that no thread of it spins. A turn is one run untold and one told, on
either side. Files that peers read are made once in --models and kept, about 0.9 GB a shape;
where a run was cut short while it made them, remove them.

Cases: ROWSxTOKENS is whole prompts of which the last position is read, with `mixed` lengths from 25 to 100 %, padded for PyTorch and ONNX Runtime and one by one for
CTranslate2 and llama.cpp, which reads all prompts one by one. `questionsN`, `tasksN` and `wordsN` are N questions behind one note, in PyTorch by a cache of the note.
`train` is a step of 8x512 with the loss of all tokens, `joint` four questions of 40 tokens a note against one by one, by answers a second. `gguf` is one prompt of 512 tokens
by the very file that llama.cpp reads, in int8 only if the model bears it (`precision` says so); the other cases take random weights.
"""
import argparse
import contextlib
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ENGINES = pathlib.Path(__file__).with_name("engines.py")
PEERS = ["torch-f32", "torch-bf16", "torch-int8", "torch-f32-compiled", "torch-bf16-compiled", "onnxruntime-f32", "onnxruntime-int8",
         "ctranslate2-f32", "ctranslate2-int8", "ctranslate2-int8_float32", "llama.cpp-q8_0"]
CASES = ["1x128", "1x512", "8x512", "8x512mixed", "1x2048", "questions1", "questions5", "tasks1", "tasks5", "words1", "words5", "gguf", "train", "joint"]
# CTranslate2 computes `int8` as `int8_float32` on a processor: one of them is enough.
USUAL_PEERS = [peer for peer in PEERS if peer != "ctranslate2-int8_float32"]
# What the peer does where its case has another name.
THEIRS = {"train": "full 8x512", "joint": "answer 4x552", "gguf": "1x512"}
# Answers that a step learns from, ours and the peer's.
ANSWERS = {"joint": (8, 4)}
# How a peer is kept to the instructions that ours is kept to. ONNX Runtime has no such switch, and llama.cpp has to be built without the others.
LESSER = {"avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "FBGEMM_ENABLE_INSTRUCTIONS": "AVX2",
                   "CT2_FORCE_CPU_ISA": "AVX2"}}
SWITCHED = ("torch", "ctranslate2")


def can(engine, case):
    if case in ("train", "joint"):
        return engine in ("torch-f32", "torch-bf16")
    if case.startswith(("questions", "tasks", "words")):
        return engine.startswith("torch")
    return case != "gguf" or engine.startswith("llama.cpp")


class Failed(Exception):
    """An engine that is not installed, or refuses."""


class Ours:
    """`wardstream bench model`, anew for each turn; it reads once untold itself."""

    def __init__(self, options, shape, case):
        known = {"train": ("train", "8x512"), "joint": ("train", "2x512+4x40"), "gguf": ("prefill", "1x512")}
        what, named = known.get(case) or (case.rstrip("0123456789"), case)
        learns = what == "train"
        what = what if what in ("questions", "tasks", "words", "train") else "prefill"
        model = ["--model", str(options.models / f"{shape}-q8_0")] if case == "gguf" else ["--shape", shape]
        self.command = [options.wardstream, "bench", "model", what, *model, "--threads", str(options.threads), "--batch", named, "--reps", "1"]
        self.command += ["--loss", "answer" if case == "joint" else "full"] if learns else []
        precision = options.precision if not learns or options.precision not in ("int16", "int8") else None
        self.command += ["--precision", precision] if precision else []
        self.command += ["--instructions", options.instructions] if options.instructions else []

    def turn(self):
        done = subprocess.run(self.command, capture_output=True, text=True)
        if done.returncode:
            raise Failed(done.stderr.strip().splitlines()[-1])
        figure = json.loads(done.stdout)
        return figure["ms_median"], figure["cpu_ms_median"], figure


class Peer:
    """A worker of `engines.py`, which only runs during its turns."""

    def __init__(self, options, shape, case, engine):
        limit = LESSER.get(options.instructions, {}) if engine.startswith(SWITCHED) else {}
        environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "MKL_NUM_THREADS": str(options.threads), **limit}
        self.log = tempfile.TemporaryFile("w+")
        python = [sys.executable, str(ENGINES)]
        made = subprocess.run([*python, "prepare", engine, shape, str(options.models)], stdout=self.log, stderr=self.log)
        if made.returncode:
            raise Failed(self.last_words())
        command = [*python, "measure", engine, shape, THEIRS.get(case, case), str(options.threads), str(options.models)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, env=environment)
        self.limited = options.instructions if limit else None
        self.about = self.told()

    def last_words(self):
        self.log.seek(0)
        return ([line for line in self.log.read().splitlines() if line.strip()] or ["nothing said"])[-1]

    def told(self):
        line = self.process.stdout.readline()
        if not line:
            raise Failed(self.last_words())
        self.process.send_signal(signal.SIGSTOP)
        return json.loads(line)

    def turn(self):
        self.process.send_signal(signal.SIGCONT)
        print(file=self.process.stdin, flush=True)
        taken = self.told()
        return taken["ms"], taken["cpu_ms"], taken

    def close(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.close()
        self.process.wait()
        self.log.close()


def line(turns, tokens, answers, fields):
    """Medians of turns, under the names of `wardstream bench model`, behind what else is to be said."""
    walls = [wall for wall, _, _ in turns]
    median = statistics.median(walls)
    rates = {"tokens": tokens, "tokens_per_second": round(1e3 * tokens / median, 1)}
    if answers:
        rates.update(answers=answers, answers_per_second=round(1e3 * answers / median, 2))
    times = {"ms_median": round(median, 2), "ms_min": round(min(walls), 2), "cpu_ms_median": round(statistics.median(cpu for _, cpu, _ in turns), 2)}
    return {**fields, **rates, **times, "reps": len(turns)}


def pair(options, shape, case, engine):
    """Ours and the peer's, turn by turn."""
    with contextlib.ExitStack() as opened:
        peer = Peer(options, shape, case, engine)
        opened.callback(peer.close)
        ours = Ours(options, shape, case)
        mine, theirs, began = [], [], time.monotonic()
        while len(theirs) < options.reps and (not theirs or time.monotonic() - began < options.limit_s):
            mine.append(ours.turn())
            theirs.append(peer.turn())
    figure, answers = mine[-1][2], ANSWERS.get(case, (None, None))
    peak = {"peak_rss_gb": theirs[-1][2]["peak_rss_gb"], "rss_before_gb": peer.about["rss_before_gb"]}
    tokens = {"joint": 4 * 552}.get(case, figure["tokens"])
    name, _, precision = engine.partition("-")
    about = {"engine": name, "version": peer.about["version"], "what": figure["what"], "case": case, "shape": shape, "precision": precision,
             "instructions": peer.limited, "threads": options.threads, **peak}
    first = line(mine, figure["tokens"], answers[0], {**figure, "case": case, "beside": engine})
    second = line(theirs, tokens, answers[1], about)
    by = "answers_per_second" if case in ANSWERS else "tokens_per_second"
    second["ratio"] = round(first[by] / second[by], 3)
    if case in ("train", "joint"):
        second["memory_ratio"] = round(first["peak_rss_gb"] / second["peak_rss_gb"], 3)
    return first, second


def table(pairs):
    """Each pair, and the quickest peer of each case starred."""
    best = {}
    for first, second in pairs:
        key = (second["shape"], second["case"])
        best[key] = min(best.get(key, second), second, key=lambda each: each["ratio"])
    yield f"{'shape':14}{'case':12}{'peer':28}{'ours ms':>10}{'peer ms':>10}{'ratio':>8}  memory"
    for first, second in pairs:
        star = "*" if best[second["shape"], second["case"]] is second else ""
        yield (f"{second['shape']:14}{second['case']:12}{second['engine'] + '-' + second['precision'] + star:28}{first['ms_median']:10.1f}{second['ms_median']:10.1f}"
               f"{second['ratio']:8.2f}  {second.get('memory_ratio', '')}")


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wardstream", required=True, help="path of the binary")
    parser.add_argument("--shape", nargs="+", default=["llama-110m"], choices=["llama-110m", "lang1-100m", "smollm2-135m"])
    parser.add_argument("--case", nargs="+", default=CASES, choices=CASES)
    parser.add_argument("--engines", nargs="+", default=USUAL_PEERS, choices=PEERS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=["f32", "bf16", "int16", "int8"], default="int8", help="of ours; with whole numbers a step is in what ours finds best")
    parser.add_argument("--instructions", help="of ours; with avx2 also of the peers that can be told")
    parser.add_argument("--reps", type=int, default=5)
    parser.add_argument("--limit-s", type=float, default=180, help="a pair begins no more turns after that long")
    parser.add_argument("--models", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "wardstream-peers", help="where the peers' files are kept")
    return parser.parse_args()


def main():
    asked, pairs = options(), []
    for shape in asked.shape:
        for case in asked.case:
            for engine in (engine for engine in asked.engines if can(engine, case)):
                try:
                    pairs.append(pair(asked, shape, case, engine))
                except Failed as failed:
                    print(f"{shape} {case} {engine}: not run: {failed}", file=sys.stderr, flush=True)
                    continue
                for side in pairs[-1]:
                    print(json.dumps(side), flush=True)
    print(*table(pairs), sep="\n", file=sys.stderr)


if __name__ == "__main__":
    main()
