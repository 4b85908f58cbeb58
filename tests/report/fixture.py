"""A full record and per-token table with made-up figures, labelled as such, that the report is tested on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tests.report import figures
from tests.report.figures import estimate
from tests.report.token_table import WORDS, examples

__all__ = ["CLAIM_TEXT", "LABEL", "estimate", "examples", "record"]

LABEL = "FIXTURE: made-up figures"
CLAIM_TEXT = """# FIXTURE: made-up figures
model: zoo:novel-attn2-rep
task: {kind: text, split: test}
explanation:
  kind: program
  components:
    a1.h3: {program: induction, level: pattern}
    a1.h6: {program: induction}
ablation: [mean, resample_joint]
"""


def record() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    table = [
        figures.row("mean", "ablated", 0.621, 0.0812, headline=True),
        figures.row("resample_joint", "ablated", 0.703, 0.1244),
        figures.row("zero", "ablated", 0.688, 0.1391),
        figures.row("mean", "ablated", 0.640, 0.0790, option="frozen_norm"),
    ]
    table.append(
        table[0]
        | {"ablation": "optimal", "headline": False, "kl_floor": estimate(0.00004, 0.00004)}
        | {"recovered": estimate(None, reason="the floor is not told apart from the model (KL 0.00004 nats a token)")}
        | {
            "recovered_loss": estimate(None, reason="gap not resolved"),
            "nines": estimate(None, reason="gap not resolved"),
        }
    )
    head = table[0]
    flops = np.logspace(12.3, 15.2, 40)
    points = [
        {
            "model": name,
            "tokens": int(tokens),
            "flops": 6.0 * size * tokens,
            "loss": 2.9 + 190 * (6 * size * tokens) ** -0.155,
        }
        for name, size in (("novel-1l", 4e5), ("novel-2l", 9e5), ("novel-3l", 2e6), ("novel-4l", 4.2e6))
        for tokens in (1.25e6, 2.5e6, 5e6, 1e7, 2e7)
    ]
    worst = []
    for i in range(4):
        gaps = rng.normal(0, 0.35, 48)
        focus = int(rng.integers(20, 47))
        gaps[focus] = 3.4 - 0.5 * i
        tokens = [
            {
                "token": WORDS[(i * 13 + j) % len(WORDS)],
                "kl": float(abs(g) * 0.6),
                "loss_model": float(1.1 + abs(rng.normal(0, 1))),
                "loss_explained": 0.0,
                "loss_floor": 0.0,
            }
            for j, g in enumerate(gaps)
        ]
        for token, gap in zip(tokens, gaps, strict=True):
            token["loss_explained"] = token["loss_model"] + float(gap)
            token["loss_floor"] = token["loss_explained"] + 0.2
        worst.append(
            {
                "document": [
                    "The Red and the Black, block 3",
                    "asyncio/streams.py",
                    "Pride, block 12",
                    "Nana, block 1",
                ][i],
                "row": i * 7,
                "position": 80 + focus,
                "token": tokens[focus]["token"],
                "kl": tokens[focus]["kl"],
                "gap": float(gaps[focus]),
                "focus": focus,
                "text": tokens,
            }
        )
    slices = {
        "source": [
            figures.slice_of(*x)
            for x in (("en", 9120, 0.027, 0.31), ("fr", 8214, 0.031, 0.27), ("python", 7401, 0.047, 0.42))
        ],
        "position": [figures.slice_of(f"{a}-{a + 31}", 3000, 0.02 + a / 6000, 0.1) for a in range(1, 256, 32)],
        "token_class": [
            figures.slice_of(*x)
            for x in (("word start", 11000, 0.029, 0.4), ("word inside", 9000, 0.041, 0.5), ("space", 1, None, 0))
        ],
        "document": [
            figures.slice_of(f"asyncio/module_{i}.py", 400, 0.08 - i * 0.01, 0.06 - i * 0.01) for i in range(5)
        ],
    }
    return {
        "schema": 1,
        "assay": {"version": "0.1.0", "revision": "abc1234"},
        "claim": {
            "sentence": "a1.h3, a1.h6 of zoo:novel-attn2-rep do strict induction",
            "kind": "program",
            "level": "how",
            "scope": ["a1.h3", "a1.h6"],
            "text": CLAIM_TEXT,
            "hash": "9c1f3a77e0d24c56b7",
        },
        "arguments": {
            "passed": {"claim": "runs/demo/claim.yaml", "seed": 0},
            "resolved": {"ablation": ["mean", "resample_joint"], "draws": 4, "seed": 0},
            "command": "assay measure runs/demo/claim.yaml --seed 0",
        },
        "model": {
            "name": "zoo:novel-attn2-rep",
            "fingerprint": "f00dfeed" * 8,
            "family": "llama",
            "parameters": 2_625_792,
            "shape": {"layers": 2, "d_model": 256, "heads": 8},
            "noise": {"logits": 1.9e-6, "kl": 3.1e-9},
        },
        "task": {
            "kind": "text",
            "name": "zoo text, test",
            "split": "test",
            "documents": 96,
            "tokens": 24735,
            "sources": {"en": 9120, "fr": 8214, "python": 7401},
            "fingerprint": "beadcafe" * 8,
            "reference": {
                "documents": 240,
                "tokens": 262144,
                "fingerprint": "0ddba11" * 9,
                "how": "1,024 windows of training text",
            },
            "metric": "loss",
        },
        "level": "how",
        "level_note": "Tested at the level how: this program computes what these heads do.",
        "headline": {
            "ablation": "mean",
            "floor": "ablated",
            "recovered": head["recovered"],
            "recovered_loss": head["recovered_loss"],
            "nines": {"certified": estimate(0.387), "text": "0.39 over mean", "limit": 4.1},
        },
        "recovered": head["recovered"],
        "recovered_loss": head["recovered_loss"],
        "losses": {
            "model": estimate(3.912, 0.08),
            "explained": head["loss_explained"],
            "floors": {"ablated:mean": head["loss_floor"], "bigram": estimate(5.104, 0.07)},
        },
        "table": table,
        "beside": {
            "agreement": estimate(0.913, 0.006),
            "within": {"0.001": estimate(0.222, 0.02), "0.01": estimate(0.514, 0.02), "0.1": estimate(0.861, 0.01)},
            "kl_quantiles": {"0.5": 0.0041, "0.9": 0.0712, "0.99": 0.402, "1.0": 4.91},
            "delta_loss_quantiles": {"0.5": 0.0002, "0.9": 0.121, "0.99": 1.04, "1.0": 6.2},
            "accuracy": estimate(0.331, 0.02),
            "accuracy_model": estimate(0.402, 0.02),
            "accuracy_floor": estimate(0.214, 0.02),
            "accuracy_recovered": estimate(0.622, 0.06),
            "hard_tokens": {"recovered": estimate(0.584, 0.04), "by": "zoo:novel-1l", "share": 0.1},
        },
        "nines": head["nines"],
        "compute": {
            "family": "novel",
            "reason": None,
            "recovered": estimate(0.58, 0.05),
            "share_model": estimate(1.0, 0.0),
            "share_explained": estimate(0.91, 0.02),
            "share_floor": estimate(0.79, 0.03),
            "linear": {"recovered": 0.66, "share_explained": 0.93, "share_floor": 0.78},
            "points": points,
            "curve": [{"flops": float(f), "loss": float(2.9 + 190 * f**-0.155)} for f in flops],
            "power_law": {"a": 190.0, "b": 0.155, "linf": 2.9, "warning": None},
            "marks": {
                "model": {"loss": estimate(3.912, 0.08), "flops": figures.flops(3.912)},
                "explained": {"loss": head["loss_explained"], "flops": figures.flops(3.9428)},
                "floor": {"loss": head["loss_floor"], "flops": figures.flops(3.9932)},
            },
            "systems": [
                {
                    "name": "bigram",
                    "loss": estimate(4.6, 0.05),
                    "share": estimate(None, reason="the bigram is below the family"),
                },
                {"name": "zoo:novel-2l", "loss": estimate(4.01, 0.05), "share": estimate(0.61, 0.04)},
            ],
            "ladder": [
                {"floor": "floor:mean", "recovered": q, "loss": estimate(3.9, 0.05), "share": estimate(share, 0.02)}
                for q, share in ((0.5, 0.86), (0.9, 0.97), (0.99, 0.997), (0.999, 0.9997))
            ],
            "text": "58 % [53, 63] of the training compute that these heads are worth (the floor alone has 79 %)",
        },
        "parts": {
            "ablation": "mean",
            "reason": None,
            "components": [
                figures.part("a1.h3", 0.71),
                figures.part("a1.h6", 0.44),
                figures.part("a0.a-head-with-a-long-name", None),
            ],
            "compound": figures.part("all at once", 0.621),
        },
        "bits": {
            "claim": {"bits": 412, "how": "Σ log2(number of productions) + parameters"},
            "standalone": {
                "bits": 18_230_144,
                "how": "every weight that is still read, at the fewest bits whose ΔKL is under 1 %",
                "parts": {"claim": 412, "weights": 18_228_992, "constants": 740},
            },
            "two_part": [{"tokens": 10.0**e, "bits": 1.8e7 + 10.0**e * 0.0308 / math.log(2)} for e in range(4, 10)],
            "overtaken": [{"rival": "bigram", "tokens": 2.1e7}, {"rival": "model at 4 bits", "tokens": None}],
            "points": [
                {
                    "name": "induction in a1.h3, a1.h6",
                    "bits": 18_230_144,
                    "kl": estimate(0.0308, 0.003),
                    "kind": "claim",
                },
                {"name": "model at 8 bits", "bits": 20_100_000, "kl": estimate(0.0004, 0.0001), "kind": "rival"},
                {"name": "model at 4 bits", "bits": 10_400_000, "kl": estimate(0.061, 0.004), "kind": "rival"},
                {"name": "model at 3 bits", "bits": 7_900_000, "kl": estimate(0.33, 0.02), "kind": "rival"},
                {"name": "model at 2 bits", "bits": 5_300_000, "kl": estimate(2.4, 0.1), "kind": "rival"},
                {"name": "low rank 64", "bits": 14_000_000, "kl": estimate(0.44, 0.03), "kind": "rival"},
                {"name": "zoo:novel-1l", "bits": 6_400_000, "kl": estimate(0.92, 0.05), "kind": "rival"},
                {"name": "bigram", "bits": 2_900_000, "kl": estimate(1.41, 0.05), "kind": "rival"},
                {"name": "5-gram with cache", "bits": 19_800_000, "kl": estimate(0.81, 0.04), "kind": "rival"},
                {"name": "unigram", "bits": 48_000, "kl": estimate(2.6, 0.06), "kind": "rival"},
            ],
        },
        "controls": {
            "groups": [
                {
                    "name": "other programs",
                    "what": "100 random programs on the same heads",
                    "n": 100,
                    "values": [float(v) for v in np.clip(rng.normal(0.08, 0.14, 100), -0.5, 0.59)],
                    "nats": [0.08] * 100,
                    "p": 0.0099,
                    "enumerated": False,
                    "claim": estimate(0.642, 0.05, 32) | {"nats": 0.05},
                },
                {
                    "name": "other heads",
                    "what": "the same program on 28 other pairs",
                    "n": 28,
                    "values": [float(v) for v in np.clip(rng.normal(-0.2, 0.3, 28), -1.2, 0.64)],
                    "nats": [0.08] * 28,
                    "p": 0.069,
                    "enumerated": True,
                    "claim": estimate(0.642, 0.05, 32) | {"nats": 0.05},
                },
                {
                    "name": "top norm",
                    "what": "the two heads with the highest norm: a1.h0, a1.h2",
                    "n": 1,
                    "values": [0.31],
                    "nats": [0.03],
                    "p": None,
                    "claim": estimate(0.642, 0.05, 32) | {"nats": 0.05},
                    "difference": estimate(0.332, 0.04, 32),
                },
            ],
            "rows": 32,
            "documents": 32,
            "tokens": 12_345,
            "random_weights": {
                "claim": estimate(0.621, 0.03),
                "control": estimate(0.04, 0.05),
                "difference": estimate(0.58, 0.06),
                "what": "the search re-run on a copy with permuted matrices",
            },
        },
        "rivals": [
            {
                "name": "bigram",
                "what": "interpolated Kneser–Ney, order 2",
                "loss": estimate(5.104, 0.07),
                "kl": estimate(1.41, 0.05),
                "recovered": estimate(0.0, 0.01),
                "bits": 2_900_000,
            },
            {
                "name": "zoo:novel-1l",
                "what": "a smaller member of the family",
                "loss": estimate(4.611, 0.07),
                "kl": estimate(0.92, 0.05),
                "recovered": estimate(0.35, 0.03),
                "bits": 6_400_000,
            },
            {
                "name": "top-norm pair",
                "what": "the two heads of largest output norm left as they are",
                "loss": estimate(3.97, 0.08),
                "kl": estimate(0.055, 0.005),
                "recovered": estimate(None, reason="it explains another scope"),
                "bits": None,
            },
        ],
        "checks": [
            {
                "name": "cancellation",
                "state": "passed",
                "evidence": "R_L − R_D = 0.021 [−0.010, 0.052]",
                "threshold": "outside ±0.05",
            },
            {
                "name": "ablation-sensitive",
                "state": "fired",
                "evidence": "R_D from 0.62 (mean) to 0.70 (resample_joint)",
                "threshold": "range > 0.1",
            },
            {
                "name": "leak",
                "state": "unknown",
                "evidence": "a hand-written claim does not say what it was found on",
                "threshold": "any shared document or 13-gram",
            },
            {
                "name": "tiny scope",
                "state": "fired",
                "evidence": "the scope carries 1.4 % of the gap from bigram to model",
                "threshold": "under 2 %",
            },
            {
                "name": "vacuous",
                "state": "passed",
                "evidence": "controls are within ε on 61 % of tokens",
                "threshold": "95 % of tokens",
            },
            {
                "name": "weak floor",
                "state": "passed",
                "evidence": "64 reference tokens a vocabulary entry",
                "threshold": "under 20",
            },
        ],
        "residual": {
            "slices": slices,
            "worst": worst,
            "parts": [
                {"part": "a1.h3", "closes": estimate(0.61, 0.04)},
                {"part": "a1.h6", "closes": estimate(0.34, 0.04)},
            ],
            "signal": {
                "value": estimate(0.31, 0.04),
                "noise": estimate(-0.02, 0.03),
                "shuffled": estimate(0.01, 0.02),
                "reader": estimate(0.44, 0.05),
                "text": "The residual still carries structure: a small reader predicts 44 % of its effect.",
            },
        },
        "lengths": [],
        "sentence": f"In one sentence: {LABEL}: strict induction in a1.h3 and a1.h6 gives back 62 % [59, 65] of what "
        "is lost when the two heads are set to their mean (KL 0.081 → 0.031 nats a token), and two checks fired.",
        "register": {"tried": 3, "this": 1, "p": 0.069, "p_holm": 0.138, "without_p": 1},
        "versions": {
            "python": "3.11.7",
            "torch": "2.13.0",
            "transformers": "5.23.0",
            "threads": 2,
            "device": "cpu",
            "precision": "float32",
            "platform": "Linux-x86_64",
        },
        "timing": {"started": "2026-11-21T06:00:00Z", "seconds": 81.4, "forwards": 1204},
        "next": "assay measure runs/demo/claim.yaml",
    }
