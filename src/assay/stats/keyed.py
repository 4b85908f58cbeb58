"""Random streams keyed by purpose: a seed and a key give the same stream whatever else was drawn before."""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def _digest(seed: int, key: tuple[str | int, ...]) -> bytes:
    # Types and lengths are part of the text, so that ("a", "b") and ("ab",), or 1 and "1", are different keys.
    text = "".join(f"{type(part).__name__}{len(str(part))}:{part};" for part in (int(seed), *key))
    return hashlib.sha256(text.encode()).digest()


def generator(seed: int, *key: str | int) -> np.random.Generator:
    """A numpy generator for one purpose.

    Example:
        >>> bool(generator(0, "controls", 3).random() == generator(0, "controls", 3).random())
        True
    """
    return np.random.default_rng(np.frombuffer(_digest(seed, key), dtype=np.uint32).tolist())


def torch_generator(seed: int, *key: str | int) -> torch.Generator:
    """A torch generator for one purpose, on the processor.

    Example:
        >>> torch_generator(0, "noise").initial_seed() == torch_generator(0, "noise").initial_seed()
        True
    """
    made = torch.Generator()
    made.manual_seed(int.from_bytes(_digest(seed, key)[:8], "little") >> 1)  # 63 bits: the seed is signed
    return made
