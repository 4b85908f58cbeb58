"""Attribution over edges (EAP, and integrated over masks) beside auto-circuit's mask gradients."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from speed.models import bench_of, handed, network
from speed.peers import Peer
from speed.timing import Row, Seconds, in_turn, timed

TOKENS, STEPS, TARGET, TOLERANCE = 15, 5, 3.0, 1e-4


def compared(name: str, prompts: int, repeats: int, threads: int) -> Iterator[Row]:
    """Seconds of the scores of all edges, after a check that they are the same."""
    from assay.intervene.circuits.engine import Circuits
    from assay.methods.attribution import attribution
    from assay.methods.edge_scores import EdgeScores
    from assay.methods.integrated_attribution import integrated_attribution

    model = network(name)
    workbench = bench_of(model, prompts, TOKENS, metric="loss")
    circuits = Circuits(workbench, "counterfactual")

    def along(path: str) -> Callable[[], EdgeScores]:
        return lambda: integrated_attribution(circuits, along=path, steps=STEPS, rule="ends", check=False)

    with tempfile.TemporaryDirectory() as folder:
        handed(model, workbench, Path(folder) / "given.safetensors")
        with Peer("auto-circuit", Path(folder) / "given.safetensors", threads) as peer:
            # the peer's sum over masks 0, 1/n, ..., 1 has n + 1 gradients
            for what, call, asked, same in (
                ("EAP", lambda: attribution(circuits), 0, True),
                (f"EAP-IG over masks, {STEPS} gradients", along("masks"), STEPS - 1, True),
                (f"EAP-IG over inputs, {STEPS} gradients", along("inputs"), STEPS - 1, False),
            ):
                found: dict[str, np.ndarray] = {}

                def ours(call: Callable[[], EdgeScores] = call, found: dict[str, np.ndarray] = found) -> Seconds:
                    taken, scores = timed(call)
                    assert scores.signed is not None
                    found["ours"] = scores.signed
                    return taken

                def theirs(asked: int = asked, found: dict[str, np.ndarray] = found) -> Seconds:
                    taken, scores = peer("gradients", steps=asked)
                    found["theirs"] = np.array([scores[edge] for edge in workbench.model.edges]) / (asked + 1)
                    return taken

                taken = in_turn({"ours": ours, "theirs": theirs}, repeats)
                note = "its own path, which the peer does not have: other scores"
                if same:
                    gap = np.abs(found["ours"] - found["theirs"]).max()
                    most = np.abs(found["theirs"]).max()
                    assert gap < TOLERANCE * max(1.0, most), (gap, most)
                    note = f"largest difference {gap:.1e} of scores up to {most:.2g}"
                what = f"{name}, {prompts} prompts: {what}"
                yield Row(what, taken["ours"], peer.name, taken["theirs"], TARGET, note)
