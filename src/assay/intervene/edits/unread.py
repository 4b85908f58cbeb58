"""What an edited run need not compute."""

from __future__ import annotations

from collections.abc import Container, Iterable

from assay.intervene.components import tap
from assay.intervene.edits.alike import reads
from assay.intervene.plan import Edit, Own, origins
from assay.intervene.rows import Key

BEFORE = {"z": ("q", "k", "v", "pattern"), "mlp": ("neurons",)}  # what is computed on the way to a value alone


def unread_taps(edits: Iterable[Edit], tapped: Container[Key], heads: int) -> set[Key]:
    """Taps whose whole value is replaced by what does not look at it, so that it need not be computed: with everything
    ablated, most of a forward pass and of its gradient; behind a part, where all takes its values of the clean run."""
    read = {tap(site) for edit in edits for site in reads(edit.source)}
    given: dict[Key, list[Edit]] = {}
    for edit in edits:
        given.setdefault(tap(edit.site), []).append(edit)
    out: set[Key] = set()
    for key, edits in given.items():
        other = all(not any(isinstance(part, Own) for part in origins(edit.source)) for edit in edits)
        everywhere = all(edit.site.position is None for edit in edits)
        whole = key[0] == "mlp" or (key[0] == "z" and len({edit.site.index for edit in edits}) == heads)
        looked_at = key in read or any((kind, key[1]) in tapped for kind in BEFORE.get(key[0], ()))
        if other and everywhere and whole and not looked_at:
            out.add(key)
    return out
