"""Every head patched at every position: a sweep beside plain hooks, TransformerLens's own sweep, and nnsight's traces.
`python -m speed.sweep` is `python -m speed.circuits --case sweep`, and takes its flags.

All patches cost the others the same, so that they may be timed on evenly spaced ones; ours always runs all of them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from speed.models import bench_of, handed, network
from speed.peers import MissingPeerError, Peer, versions
from speed.timing import Row, Seconds, in_turn, timed

TOKENS = 15
PEERS = ("transformer-lens", "nnsight")
TARGET = {False: 10.0, True: 3.0}  # the loss at the end; at every position
Patch = tuple[int, int, int]  # layer, head, column


class Hooks:
    """The plain way: a hook that replaces one head's z at one column, and the library's own forward pass."""

    def __init__(self, model: Any, workbench: Any):
        self.model, self.task, self.width = model, workbench.task, workbench.model.config.d_head
        self.tokens, other = workbench.task.tokens[:, :TOKENS], workbench.task.counterfactual[:, :TOKENS]
        gpt2 = hasattr(model, "transformer")
        layers = model.transformer.h if gpt2 else model.model.layers
        self.out = [layer.attn.c_proj if gpt2 else layer.self_attn.o_proj for layer in layers]
        self.donor: list[torch.Tensor] = []
        handles = [
            out.register_forward_pre_hook(lambda _, args: self.donor.append(args[0].clone())) for out in self.out
        ]
        with torch.no_grad():
            model(other)
        for handle in handles:
            handle.remove()
        with torch.no_grad():
            self.clean = self._log_probs()

    def _log_probs(self) -> torch.Tensor:
        read = torch.from_numpy(self.task.items(np.arange(1)).position - 1)
        return self.model(self.tokens).logits[0, read].log_softmax(-1)

    def __call__(self, patches: list[Patch]) -> np.ndarray:
        """How much the loss rises, summed over the scored positions."""
        targets = self.task.targets(np.arange(1), self.task.items(np.arange(1)))[:, None]
        loss = []
        for layer, head, column in patches:
            part = slice(head * self.width, (head + 1) * self.width)

            def put(module: Any, args: Any, layer: int = layer, part: slice = part, column: int = column) -> Any:
                z = args[0].clone()
                z[:, column, part] = self.donor[layer][:, column, part]
                return (z,)

            handle = self.out[layer].register_forward_pre_hook(put)
            with torch.no_grad():
                found = self._log_probs()
            handle.remove()
            loss.append(float((self.clean - found).gather(-1, targets).sum()))
        return np.array(loss)


def compared(name: str, everywhere: bool, repeats: int, threads: int, count: int | None) -> Iterator[Row]:
    """Medians a patch, after a check that all give the same losses.

    Args:
        count: how many patches the other ways run (default: all).
    """
    from assay.intervene.sweep.sweep import sweep

    model = network(name)
    workbench = bench_of(model, 1, TOKENS, metric="loss", everywhere=everywhere)
    shape = workbench.model.config
    names = [component for component in workbench.model.components if ".h" in component]
    every = [(a, b, c) for a in range(shape.layers) for b in range(shape.heads) for c in range(TOKENS)]
    some = np.linspace(0, len(every) - 1, min(count or len(every), len(every))).astype(int)
    chosen, wanted = [every[i] for i in some], np.zeros(0)

    def ours() -> Seconds:
        nonlocal wanted
        taken, swept = timed(lambda: sweep(workbench, "counterfactual", names))
        wanted = swept.loss[..., 0].reshape(-1)[some]
        return taken.over(len(every))

    def other(call: Callable[[], tuple[Seconds, Any]], tolerance: float) -> Callable[[], Seconds]:
        def run() -> Seconds:
            taken, losses = call()
            np.testing.assert_allclose(np.array(losses), wanted, rtol=tolerance, atol=tolerance)
            return taken.over(len(chosen))

        return run

    plain = Hooks(model, workbench)
    calls = {"assay": ours, "plain hooks": other(lambda: timed(lambda: plain(chosen)), 1e-4)}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        handed(model, workbench, Path(folder) / "given.safetensors")
        for library in PEERS:
            for which in range(versions(library)):
                try:
                    peer = stack.enter_context(Peer(library, Path(folder) / "given.safetensors", threads, which))
                except MissingPeerError as why:
                    print(why)
                    continue
                calls[peer.name] = other(lambda p=peer: p("sweep", patches=chosen, everywhere=everywhere), 1e-3)
        taken = in_turn(calls, repeats)
    own = taken.pop("assay")
    what = f"{name}: a head at a position, loss {'everywhere' if everywhere else 'at the end'}"
    for beside, seconds in taken.items():
        target = TARGET[everywhere] if beside.startswith(PEERS) else None
        note = f"{len(every)} patches of ours, {len(chosen)} of theirs"
        yield Row(what, own, beside, seconds, target, note)


if __name__ == "__main__":
    import sys

    from speed.circuits import main

    main(["--case", "sweep", *sys.argv[1:]])
