"""The benchmarks that docs name print something."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_sweep_is_a_benchmark_of_its_own():
    command = [sys.executable, "-m", "speed.sweep", "--model", "1x2x16", "--count", "2", "--repeats", "1"]
    there = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, cwd=ROOT, env=there, capture_output=True, text=True, check=True)
    for which in ("at the end", "everywhere"):
        assert f"sweep: 1x2x16: a head at a position, loss {which}: " in done.stdout
    assert done.stdout.count("; plain hooks: ") == 2
