"""Models and prompts that are timed, and the file that hands both to the peers: same weights, same inputs.

A model is "gpt2" (GPT-2 small's shape with random weights), "LAYERSxHEADSxD" (such a shape with a vocabulary of 4,096),
either with "*SPREAD" (the standard deviation of its weights, 0.04 if not said), or a built-in one ("zoo:novel-4l").
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

SPREAD = 0.04  # attention is not uniform at this one


def network(name: str, seed: int = 0) -> Any:
    """The library's model, in float32."""
    from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

    if name.startswith("zoo:"):
        from assay.zoo.index import folder

        return AutoModelForCausalLM.from_pretrained(folder(name), dtype=torch.float32).eval()
    name, _, spread = name.partition("*")
    shape: dict[str, Any] = {}
    if name != "gpt2":
        layers, heads, width = map(int, name.split("x"))
        shape = {"n_layer": layers, "n_head": heads, "n_embd": width, "vocab_size": 4_096}
    generator = torch.Generator().manual_seed(seed)
    model = GPT2LMHeadModel(GPT2Config(**shape, bos_token_id=0, eos_token_id=0)).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.ndim == 2 and "wpe" not in key:
                size = float(spread or SPREAD) if "wte" not in key else SPREAD
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * size)
    return model


def bench_of(
    model: Any, prompts: int, tokens: int, seed: int = 0, *, metric: str = "kl", everywhere: bool = False
) -> Any:
    """Random prompts, each with a counterfactual that differs at every column.

    Args:
        metric: of the task; "loss" has a random token for answer. everywhere: it is read after every token, and not
            after the last alone.
    """
    from assay.intervene.fill.ablations import PlanContext
    from assay.intervene.runner import Runner
    from assay.model.load import load
    from assay.model.transformer import Model
    from assay.task.examples import DocumentInfo
    from assay.task.metrics import METRICS
    from assay.task.task import Task

    view = load(model)
    assert isinstance(view, Model)
    generator = torch.Generator().manual_seed(seed)
    clean, other = torch.randint(1, view.config.vocab, (2, prompts, tokens + 1), generator=generator)
    other = torch.where(other == clean, (other % (view.config.vocab - 1)) + 1, other)
    real = torch.ones_like(clean, dtype=torch.bool)
    real[:, -1] = False
    scored = torch.zeros_like(real)
    scored[:, 1 if everywhere else tokens :] = True
    task = Task(
        kind="prompts", name="speed", metric=METRICS[metric], tokenizer=None, reference=None, tokens=clean,
        scored=scored, real=real, document=np.arange(prompts), offset=np.zeros(prompts, dtype=np.int64),
        counterfactual=other, documents=tuple(DocumentInfo(f"p{i}", "prompts", str(i)) for i in range(prompts)),
    )  # fmt: skip
    return PlanContext(Runner(view, task))


def handed(model: Any, workbench: Any, file: Path, more: Mapping[str, np.ndarray] | None = None) -> None:
    """Writes weights, prompts (`tokens` [2, prompts, pos + 1]: scored, donor) and more arrays for a peer to read."""
    from safetensors.torch import save_file

    task = workbench.task
    given = {f"weights.{name}": value.contiguous().clone() for name, value in model.state_dict().items()}
    given["tokens"] = torch.stack([task.tokens, task.counterfactual]).contiguous()
    for name, value in (more or {}).items():
        given[name] = torch.from_numpy(np.ascontiguousarray(value))
    save_file(given, file, metadata={"config": json.dumps(model.config.to_dict(), default=str)})


def paths(edges: Any, sizes: np.ndarray, seed: int) -> np.ndarray:
    """Nested circuits of these sizes (rising) made of random paths from the logits back to the input: all of it live.

    A path that would be too long is left out, so that a size may be missed by a few edges.
    """
    chance = np.random.default_rng(seed)
    mask, out = np.zeros(len(edges), dtype=bool), []
    for size in sizes:
        misses = 0
        while mask.sum() < size and misses < 1_000:
            reader, path = len(edges.readers) - 1, []
            while True:
                writer = int(chance.integers(edges.readers[reader].writers))
                path.append(int(edges.offsets[reader]) + writer)
                if writer == 0:
                    break
                reader = int(chance.choice(np.flatnonzero(edges.node_of[:, writer])))
            fresh = np.setdiff1d(path, np.flatnonzero(mask))
            if mask.sum() + len(fresh) > size:
                misses += 1
                continue
            mask[path] = True
        out.append(mask.copy())
    return np.stack(out)
