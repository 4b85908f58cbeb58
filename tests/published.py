"""A circuit that others published: indirect objects in GPT-2 small, every edge with its score.

From the circuit track of MIB, in the form of EAP-IG's files (Apache-2.0); its scores are cut to two digits.
"""

from __future__ import annotations

import lzma
from pathlib import Path


def ioi() -> bytes:
    """The JSON of the file: 158 nodes and 32,491 edges, 756 of them in the circuit."""
    return lzma.decompress((Path(__file__).parent / "data" / "ioi-eap-ig.json.xz").read_bytes())
