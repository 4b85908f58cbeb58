"""Peak memory and tokens a second of a forward pass, of the view and of the library's own model, a process each.

OMP_NUM_THREADS=1 python -m speed.memory [--model zoo:smollm2-135m] [--rows 4] [--repeats 4]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import numpy as np
import torch

POSITIONS = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="zoo:smollm2-135m")
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--alone", choices=("assay", "transformers"), help="in this process")
    given = parser.parse_args()
    if given.alone is None:
        for alone in ("assay", "transformers"):
            subprocess.run([sys.executable, "-m", "speed.memory", *sys.argv[1:], "--alone", alone], check=True)
        return
    if given.alone == "assay":
        import assay

        run = assay.load(given.model)
    else:
        from transformers import AutoModelForCausalLM

        from assay.zoo import index

        run = AutoModelForCausalLM.from_pretrained(index.place(given.model), dtype=torch.float32).eval()
    opened = _peak()
    tokens = torch.randint(1, 4_000, (given.rows, POSITIONS), generator=torch.Generator().manual_seed(0))
    taken = []
    with torch.no_grad():
        for _ in range(given.repeats + 1):  # the first one warms up
            start = time.process_time()
            run(tokens)
            taken.append(time.process_time() - start)
    each = tokens.numel() / float(np.median(taken[1:]))
    print(f"{given.alone}: {each:.0f} tokens a second of processor time; peak {_peak()} MiB, once open {opened}")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


if __name__ == "__main__":
    main()
