"""Trains a peer's dictionary in the peer's Python, so many steps whenever it is asked.

Arguments: library, file, threads. The file (safetensors) holds `values` [n, d] and in its metadata width, k, batch,
rate and steps. Each line of input is {"work": name, "given": arguments}; each line of output has what was found and the
seconds that it took. Nothing here is assay's code.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

sys.path.pop(0)  # the folder of this script, whose modules are assay's

import torch
from safetensors import safe_open  # pyright: ignore[reportMissingImports]


class Shared:
    """Values, and which of them each step takes: the same for all that are compared."""

    def __init__(self, file: str):
        with safe_open(file, "pt") as opened:
            self.values = opened.get_tensor("values")
            said = json.loads(opened.metadata()["settings"])
        self.width, self.k, self.batch = said["width"], said["k"], said["batch"]
        self.rate, self.steps, self.done = said["rate"], said["steps"], 0

    def next(self) -> torch.Tensor:
        random = torch.Generator().manual_seed(self.done)
        self.done += 1
        return self.values[torch.randint(0, len(self.values), (self.batch,), generator=random)]


class SaeLens:
    """Its TopK trainer as it is, without logs."""

    def __init__(self, shared: Shared, sparse: bool = False):
        from sae_lens.config import SAETrainerConfig  # pyright: ignore[reportMissingImports]
        from sae_lens.saes.topk_sae import (  # pyright: ignore[reportMissingImports]
            TopKTrainingSAE,
            TopKTrainingSAEConfig,
        )
        from sae_lens.training.sae_trainer import SAETrainer  # pyright: ignore[reportMissingImports]

        torch.manual_seed(0)
        options = {"d_in": shared.values.shape[1], "d_sae": shared.width, "k": shared.k, "device": "cpu"}
        self.sae = TopKTrainingSAE(TopKTrainingSAEConfig(**options, use_sparse_activations=sparse))
        config = SAETrainerConfig(
            total_training_samples=shared.steps * shared.batch,
            train_batch_size_samples=shared.batch,
            lr=shared.rate,
            lr_end=shared.rate,
        )
        with torch.no_grad():
            self.sae.b_dec.copy_(shared.values[: 4 * shared.batch].mean(0))
        self.shared = shared
        self.trainer = SAETrainer(config, self.sae, iter(()))

    def step(self, x: torch.Tensor) -> None:
        self.trainer.step(x)
        self.trainer.n_training_steps += 1

    def said(self, x: torch.Tensor) -> torch.Tensor:
        return self.sae.decode(self.sae.encode(x))


class DictionaryLearning:
    """Its TopK trainer as it is."""

    def __init__(self, shared: Shared):
        from dictionary_learning.trainers.top_k import TopKTrainer  # pyright: ignore[reportMissingImports]

        self.trainer = TopKTrainer(
            shared.steps, shared.values.shape[1], shared.width, shared.k, layer=0, lm_name="none", lr=shared.rate,
            warmup_steps=max(1, shared.steps // 50), seed=0, device="cpu",
        )  # fmt: skip
        self.at = 0

    def step(self, x: torch.Tensor) -> None:
        self.trainer.update(self.at, x)
        self.at += 1

    def said(self, x: torch.Tensor) -> torch.Tensor:
        return self.trainer.ae(x)


class Sparsify:
    """Its coder with Adam, the revival of dead features, and the norms of decoder rows kept, as its trainer does."""

    def __init__(self, shared: Shared):
        from sparsify import SparseCoder, SparseCoderConfig  # pyright: ignore[reportMissingImports]

        torch.manual_seed(0)
        self.coder = SparseCoder(shared.values.shape[1], SparseCoderConfig(num_latents=shared.width, k=shared.k))
        with torch.no_grad():
            self.coder.b_dec.copy_(shared.values[: 4 * shared.batch].mean(0))
        self.optimizer = torch.optim.Adam(self.coder.parameters(), lr=shared.rate)
        self.since = torch.zeros(shared.width, dtype=torch.long)
        self.after = shared.steps * shared.batch // 10

    def step(self, x: torch.Tensor) -> None:
        self.coder.set_decoder_norm_to_unit_norm()
        out = self.coder(x, dead_mask=self.since > self.after)
        (out.fvu + out.auxk_loss / 32).backward()
        self.coder.remove_gradient_parallel_to_decoder_directions()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.since += len(x)
        self.since[out.latent_indices.flatten()] = 0

    def said(self, x: torch.Tensor) -> torch.Tensor:
        return self.coder(x).sae_out


LIBRARIES = {"sae-lens": SaeLens, "dictionary-learning": DictionaryLearning, "eai-sparsify": Sparsify}


class Training:
    """Steps of one of them, and how much of the variance it leaves."""

    def __init__(self, library: str, file: str):
        self.shared = Shared(file)
        self.own: Any = LIBRARIES[library](self.shared)

    def steps(self, count: int) -> int:
        for _ in range(count):
            self.own.step(self.shared.next())
        return self.shared.done

    def left(self) -> float:
        """The error over the variance, on values of their own."""
        x = self.shared.values[-8_192:]
        with torch.no_grad():
            parts = [(part - self.own.said(part)).square().sum() for part in x.split(2_048)]
        return float(sum(parts) / (x - x.mean(0)).square().sum())


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    torch.set_num_threads(int(sys.argv[3]))
    training = Training(sys.argv[1], sys.argv[2])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"edges": [], "peak": peak}), flush=True, file=answers)
    for line in sys.stdin:
        asked = json.loads(line)
        wall, cpu = time.perf_counter(), time.process_time()
        found = getattr(training, asked["work"])(**asked["given"])
        answer: dict[str, Any] = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "found": found}
        answer["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps(answer), flush=True, file=answers)


if __name__ == "__main__":
    main()
