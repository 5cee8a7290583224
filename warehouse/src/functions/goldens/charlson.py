#!/usr/bin/env python3
"""Writes charlson.json beside itself: diagnosis codes, and the Charlson index of 20,000 random patients as pycomorb gives it.

    python3 -m venv venv && venv/bin/pip install pycomorb==1.20261001.1 comorbidipy==0.5.0 pandas==3.1.1
    venv/bin/python charlson.py

The codes are all that either package knows for Quan 2005, with what follows and what stands beside each. A patient's codes are drawn by a
linear congruence, so that the test draws the same ones. comorbidipy is asked too; where it differs is printed, by cause.
"""
import json
import pathlib
import random

import pandas as pd
import pandas.core.common
import polars as pl
import pycomorb
from pycomorb.CharlsonComorbidityIndex import CharlsonComorbidityIndex

# comorbidipy 0.5.0 imports a name that pandas has moved since.
pandas.core.common.SettingWithCopyWarning = Warning
from comorbidipy.mapping import mapping
from comorbidipy.weights import weights

PATIENTS, MOST_CODES, POOL = 20_000, 12, 1_600
ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
draw = random.Random(2005)


def known(version):
    table = pl.read_csv(pathlib.Path(pycomorb.__file__).parent / "common/CHARLSON_QUAN.csv", infer_schema=False)
    theirs = {code.strip() for row in table[f"{version}_codes"].drop_nulls() for code in row.split("|")}
    return {code for code in theirs | {code for row in mapping[f"charlson_{version}_quan"].values() for code in row} if code[1:].isdigit()}


def pool(version):
    """The codes with a dot, `ICD9CM/428.0`."""
    bare = set()
    for prefix in known(version):
        bare |= {prefix, prefix + draw.choice(ALPHABET[:10]), prefix[:-1] + draw.choice(ALPHABET[:10]), prefix + draw.choice("01239") + draw.choice("0129")}
    bare = sorted(code for code in bare if 3 <= len(code) <= (5 if version == "icd9" else 7))
    bare = sorted(draw.sample(bare, min(len(bare), POOL // 2)))
    return [f"{'ICD9CM' if version == 'icd9' else 'ICD10CM'}/{code[:3]}{'.' if len(code) > 3 else ''}{code[3:]}" for code in bare]


def patients(codes):
    """A patient's codes: their number, then each code and whether it is written without its dot."""
    state = 1

    def below(limit):
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (state >> 33) % limit

    for _ in range(PATIENTS):
        drawn = [(below(len(codes)), below(2)) for _ in range(below(MOST_CODES + 1))]
        yield [codes[code].replace(".", "") if bare else codes[code] for code, bare in drawn]


def by_pycomorb(rows):
    rows = rows.with_columns(age=pl.lit(0))
    found = CharlsonComorbidityIndex(rows, code_col="code", icd_version="icd9_10", icd_version_col="version")
    return dict(found.select("id", "Charlson Age-Comorbidity Score").iter_rows())


def by_comorbidipy(codes, severe):
    """Its conditions over both code systems, each code for the last condition that names it, as its function has it."""
    found = set()
    for system, code in (code.split("/") for code in codes):
        version = "icd9" if system == "ICD9CM" else "icd10"
        named = [condition for condition, starts in mapping[f"charlson_{version}_quan"].items() if code.replace(".", "").startswith(tuple(starts))]
        found |= set(named if severe else named[-1:])
    found -= {mild for mild, form in (("mld", "msld"), ("diab", "diabwc"), ("canc", "metacanc")) if form in found}
    return sum(weights["charlson_icd10_quan"]["charlson"][condition] for condition in found)


codes = pool("icd9") + pool("icd10")
of = list(patients(codes))
rows = pl.DataFrame([(number, code.split("/")[1], "ICD-9" if code.startswith("ICD9") else "ICD-10") for number, mine in enumerate(of) for code in mine],
                    schema=["id", "code", "version"], orient="row")
index = by_pycomorb(rows)
expected = "".join(ALPHABET[index[number]] if mine else "-" for number, mine in enumerate(of))
target = pathlib.Path(__file__).with_name("charlson.json")
target.write_text(json.dumps(dict(codes=codes, expected=expected), separators=(",", ":")) + "\n")
print(target.name, target.stat().st_size, "bytes;", len(codes), "codes; highest index", max(index.values()))
for severe, what in ((False, "as it is"), (True, "with every condition that a code names")):
    apart = [number for number, mine in enumerate(of) if mine and by_comorbidipy(mine, severe) != index[number]]
    print("comorbidipy", what, "differs for", len(apart), "patients")
blank = ("ICD9CM/195", "ICD9CM/195.9", "ICD9CM/1959", "ICD9CM/497", "ICD9CM/498", "ICD9CM/499")
left = [number for number in apart if not any(code == "ICD9CM/195" or code.replace(".", "").startswith(blank[2:]) for code in of[number])]
print("  of them without a code of 195, 195.9, 497 to 499:", len(left))
