"""Builds `zoo/novel/ngrams.xz`: n-grams of the `novel` training text, pruned to fit the wheel, and a cache.

Usage: python tools/build_ngrams.py TOKENIZER_FOLDER [--megabytes 5.3] [--numbers FILE.md]. Bigrams are kept entirely,
so that order 2 is the exact Kneser–Ney bigram; the cache is fitted on held-out blocks. `--numbers` also measures every
variant on the test split.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from assay.task.documents import Document, Windows, blocks, windows
from assay.task.ngrams.ngrams import FOLDER, NGram
from assay.zoo import corpus

CONTEXT = 256
HELD_OUT = 20  # one block in so many is held out of the training text to fit the cache's weights
FRACTIONS = (0.1, 0.25, 0.5, 1.0)


def documents(tokenizer: Tokenizer, split: str) -> list[Document]:
    """The blocks of every work of a split."""
    found = []
    for work in corpus.works(split):
        found += blocks(work.name, work.source, np.array(tokenizer.encode(work.text).ids, dtype=np.uint16))
    return found


def whole_works(pieces: Sequence[Document]) -> list[np.ndarray]:
    """Joins neighbouring blocks of one work again; a block that is missing ends a document."""
    joined: list[list[np.ndarray]] = []
    last = ("", -2)
    for piece in pieces:
        work, _, number = piece.name.rpartition("#")
        if (work, int(number)) != (last[0], last[1] + 1):
            joined.append([])
        joined[-1].append(piece.tokens)
        last = (work, int(number))
    return [np.concatenate(parts) for parts in joined]


def measure(model: NGram, test: Windows, title: str, orders: Sequence[int]) -> str:
    """A row of the table of test losses."""
    return f"| {title} | " + " | ".join(f"{model.loss(test, k):.4f}" if k in orders else "" for k in range(1, 6)) + " |"


def main() -> None:
    """Builds, writes, and measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument(
        "--megabytes", type=float, default=5.3, help="stand-alone length; the file is about 7 %% smaller"
    )
    parser.add_argument("--out", type=Path, default=FOLDER / "novel" / "ngrams.xz")
    parser.add_argument("--numbers", type=Path, help="a Markdown file to write test losses to")
    arguments = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(arguments.tokenizer / "tokenizer.json"))
    config = json.loads((arguments.tokenizer / "tokenizer_config.json").read_text(encoding="utf-8"))
    bos, vocab, budget = (
        tokenizer.token_to_id(config["bos_token"]),
        tokenizer.get_vocab_size(),
        arguments.megabytes * 8e6,
    )

    train = documents(tokenizer, "train")
    inner = [piece for i, piece in enumerate(train) if i % HELD_OUT != HELD_OUT // 2]
    held_out = windows([piece for i, piece in enumerate(train) if i % HELD_OUT == HELD_OUT // 2], CONTEXT, bos)

    partial = NGram.fit(whole_works(inner), vocab, 5, bos, starts="cut")
    cache_full = partial.with_cache(held_out).cache
    cache = partial.pruned(budget, whole=2).with_cache(held_out).cache
    del partial
    assert cache is not None
    assert cache_full is not None
    texts = whole_works(train)
    full = NGram.fit(texts, vocab, 5, bos, starts="cut")
    shipped = full.pruned(budget, whole=2).with_cache(cache)
    shipped.save(arguments.out)
    size = arguments.out.stat().st_size
    print(f"{arguments.out}: {size} bytes; {shipped.tables.sizes} n-grams, {shipped.bits:.0f} bits; cache {cache}")
    if arguments.numbers is None:
        return

    test = windows(documents(tokenizer, "test"), CONTEXT, bos)
    shipped = NGram.load(arguments.out)
    orders = (1, 2, 3, 4, 5)
    lines = [
        f"Test loss, nats/token, {int(test.scored.sum())} scored tokens in {len(test.tokens)} windows of "
        f"BOS + {CONTEXT - 1}; "
        f'fitted on {full.tokens} tokens (BOS is no context: `starts="cut"`).',
        "",
        "| model | 1 | 2 | 3 | 4 | 5 |",
        "| --- | --- | --- | --- | --- | --- |",
        measure(full, test, f"unpruned ({full.bits / 8e6:.2f} MB stand-alone)", orders),
        measure(full.with_cache(cache_full), test, "unpruned + cache", orders),
        measure(full.with_cache(0.0), test, "unpruned + cache of weight 0 (check)", (5,)),
        measure(shipped.with_cache(0.0), test, f"shipped ({shipped.bits / 8e6:.2f} MB stand-alone)", orders),
        measure(shipped, test, "shipped + cache", orders),
        "",
        f"Shipped file: {size} bytes; n-grams of orders 1-5: {shipped.tables.sizes} of {full.tables.sizes}.",
        f"Cache (shipped): half-life {cache.half_life}, weights {np.round(cache.weights, 4).tolist()}.",
        f"Cache (unpruned): half-life {cache_full.half_life}, weights {np.round(cache_full.weights, 4).tolist()}.",
        "",
        "Pruned to smaller budgets (nothing but unigrams kept entirely), order 5, without and with the shipped cache:",
        "",
    ]
    for megabytes in (0.05, 0.1, 0.25, 0.5, 1.0, 2.0):
        small = full.pruned(megabytes * 8e6)
        both = f"{small.loss(test):.4f}, {small.with_cache(cache).loss(test):.4f}"
        lines.append(f"- {megabytes} MB: {both}; {small.tables.sizes}")
    curve = NGram.learning_curve(texts, test, FRACTIONS, vocab, 5, bos, starts="cut")
    lines += ["", "Learning curve (order 5, whole): " + "; ".join(f"{n} tokens {loss:.4f}" for n, loss in curve) + "."]
    arguments.numbers.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
