"""A made-up table of tokens, one row a scored token."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

# fmt: off
WORDS = [
    " the", " old", " house", " stood", " at", " the", " end", " of", " a", " lane",
    " and", " no", "body", " had", " lived", " there", " since", " Mad", "ame", " de",
    " Ré", "nal", " left", " it", ";", " def", " read", "_line", "(self", ",",
    " size", "=-1", "):", "\n", "    ", " return", " self", "._", "buffer", ".",
    "read", "line", "(size", ")", "\n", " il", " n'", "y", " avait", " plus",
    " rien", " à", " faire", ".", "”", " Mr", ".", " Col", "lins", " was",
    " not", " a", " sens", "ible", " man",
]
# fmt: on


def examples() -> pa.Table:
    rng = np.random.default_rng(1)
    n = 400
    kl = np.exp(rng.normal(-5, 2, n))
    model = np.abs(rng.normal(3.9, 1.5, n))
    return pa.table(
        {
            "document": [f"document {i // 40}" for i in range(n)],
            "source": [("en", "fr", "python")[i // 40 % 3] for i in range(n)],
            "row": np.arange(n) // 40,
            "position": np.arange(n) % 40 + 1,
            "token": [WORDS[i % len(WORDS)] for i in range(n)],
            "token_id": np.arange(n) % 4096,
            "loss_model": model,
            "loss_explained_mean": model + kl,
            "loss_floor_mean": model + 2.6 * kl,
            "kl_explained_mean": kl,
            "kl_floor_mean": kl * 2.6,
            "agree_mean": kl < 0.1,
        }
    )
