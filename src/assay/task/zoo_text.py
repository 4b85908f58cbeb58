"""The zoo's own text as documents: whole splits, samples of them, and windows of training text for the reference.

The training text is long, so only the pieces that are drawn are tokenised.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from assay.errors import TaskError, nearest
from assay.stats.keyed import generator
from assay.task.documents import BLOCK, SHORTEST_WINDOW, Document, allocate, blocks, spread
from assay.task.encode import encode, name_of
from assay.zoo import corpus
from assay.zoo.corpus import Work
from assay.zoo.spec import NOVEL, SPLITS, text_of

WINDOWS = 512  # of the default reference
TRAIN_DOCUMENTS = 256  # scored of the training text where no number is given
CHARACTERS = 6  # of text read for each token that is wanted; what is over is left off
SHIFT = 64  # a window begins so many tokens at most after a paragraph's beginning
TRIES = 50
UsedSpans = dict[str, list[tuple[int, int]]]  # work -> [begin, end) characters that are in use


def trained_on(model: Any) -> str | None:
    """The text of the zoo that a model was trained on, "novel" or "stories"; None for other models."""
    return text_of(name_of(model))


def works_of(model: Any, split: str) -> tuple[Work, ...]:
    """The works of a split of the text that a zoo model was trained on; for other models, that of the novel family.

    Raises:
        TaskError: for a split that the text does not have.
    """
    name, family = name_of(model), trained_on(model) or NOVEL
    valid = SPLITS[family]
    if split not in valid:
        raise TaskError(f"unknown split {split!r} of the text of {name}" + nearest(split, valid))
    return corpus.works(split) if family == NOVEL else corpus.stories(split)


def zoo_documents(model: Any, split: str, most: int | None, seed: int) -> tuple[list[Document], str | None]:
    """The documents of a split, and how they were sampled (None: all of them)."""
    works = works_of(model, split)
    if split == "train":
        return train_documents(model, works, most or TRAIN_DOCUMENTS, seed)
    documents = [d for d in documents_of(model, works) if len(d.tokens) >= SHORTEST_WINDOW]
    if most is None or most >= len(documents):
        return documents, None
    return sample([piece for d in documents for piece in pieces(d)], most, seed)


def whole(work: Work) -> bool:
    """Whether the work is one document however long it is."""
    return work.source == "python" or is_story(work)


def is_story(work: Work) -> bool:
    return work.name.startswith("stories/")


def source_of(work: Work) -> str:
    """What its documents are resampled with: its language, or "stories"."""
    return "stories" if is_story(work) else work.source


def documents_of(model: Any, works: Sequence[Work]) -> list[Document]:
    """Blocks of 2,000 tokens of long works; modules and stories whole."""
    found = []
    for work, ids in zip(works, encode(model, [w.text for w in works]), strict=True):
        found += blocks(work.name, source_of(work), ids, max(len(ids), 1) if whole(work) else BLOCK)
    return found


def pieces(document: Document) -> list[Document]:
    """What a sample takes of a document: itself, or blocks of a long module, which alone would outweigh its source."""
    if len(document.tokens) <= BLOCK:
        return [document]
    starts = range(0, len(document.tokens), BLOCK)
    cut = [document.tokens[s : s + BLOCK] for s in starts]
    found = [Document(f"{document.name}:{i}", document.source, tokens) for i, tokens in enumerate(cut)]
    return [piece for piece in found if len(piece.tokens) >= SHORTEST_WINDOW]


def sample(items: Sequence[Document], most: int | None, seed: int) -> tuple[list[Document], str | None]:
    """At most so many items, enough of every source, spread over its works, in their old order; and how to say that."""
    if most is None or most >= len(items):
        return list(items), None
    chosen = spread([item.source for item in items], [item.work for item in items], most, seed)
    how = f"{most} of {len(items)} documents, enough of every source, spread over its works, seed {seed}"
    return [items[i] for i in chosen], how


def train_documents(model: Any, works: Sequence[Work], count: int, seed: int) -> tuple[list[Document], str]:
    """Documents of the training text: single works whole, and stretches of 2,000 tokens of long ones."""
    long = [w for w in works if not whole(w)]
    single = [w for w in works if whole(w)]
    stretch = BLOCK * CHARACTERS
    sizes = Counter(w.source for w in single)
    sizes.update(
        {source: sum(len(w.text) for w in long if w.source == source) // stretch for source in {w.source for w in long}}
    )
    share = allocate({k: v for k, v in sizes.items() if v}, min(count, sum(sizes.values())))
    found: list[Document] = []
    for source in sorted(share):
        rng = generator(seed, "train documents", source)
        here = [w for w in single if w.source == source]
        if here:
            found += documents_of(model, [here[i] for i in sorted(rng.permutation(len(here))[: share[source]])])
        else:
            found += stretches(
                model, [w for w in long if w.source == source], share[source], BLOCK, rng, defaultdict(list), 0
            )
    found = [d for d in found if len(d.tokens) >= SHORTEST_WINDOW]
    return found, f"{len(found)} documents of the training text, in proportion to their sources, seed {seed}"


def zoo_reference(
    model: Any, reference: str, split: str | None, scored: Sequence[Document], length: int, seed: int
) -> tuple[list[Document], str]:
    """About 512 windows of `length` tokens of a split, none of what is scored; and how to say that.

    Of long works and modules each window is a document, of stories the story is.

    Raises:
        TaskError: when the split is the one that is scored.
    """
    works = works_of(model, reference)
    if reference == split and split != "train":
        raise TaskError(
            f"the reference overlaps what is scored: both are the split {split!r}; the default reference is 'train'"
        )
    used = {document.name.rpartition("#")[0] or document.name for document in scored} if reference == split else set()
    taken: UsedSpans = defaultdict(list)
    for document in scored if reference == split else ():
        name, _, begin = document.name.rpartition("@")
        if name:
            taken[name].append((int(begin), int(begin) + BLOCK * CHARACTERS))
    rng = generator(seed, "reference", reference)
    works = tuple(w for w in works if w.name not in used)
    if all(is_story(w) for w in works):
        found = short_works(model, works, length, rng)
        return found, f"{len(found)} stories of the split {reference!r}, seed {seed}"
    found = stretches(model, works, WINDOWS, length, rng, taken, SHIFT)
    return found, f"{len(found)} windows of the split {reference!r}, spread over its works, seed {seed}"


def short_works(model: Any, works: Sequence[Work], length: int, rng: np.random.Generator) -> list[Document]:
    """Whole works drawn at random until they give enough windows."""
    found: list[Document] = []
    count = 0
    order = rng.permutation(len(works))
    for start in range(0, len(order), WINDOWS // 4):
        for document in documents_of(model, [works[i] for i in order[start : start + WINDOWS // 4]]):
            if count < WINDOWS and len(document.tokens) >= SHORTEST_WINDOW:
                found.append(document)
                count += -(-len(document.tokens) // length)
        if count >= WINDOWS:
            break
    return found


def stretches(
    model: Any,
    works: Sequence[Work],
    count: int,
    length: int,
    rng: np.random.Generator,
    taken: UsedSpans,
    shift: int,
) -> list[Document]:
    """Stretches of `length` tokens spread over works in proportion to their length; only these are tokenised.

    A stretch is read from the beginning of a paragraph and starts up to `shift` tokens after it, as the windows of a
    document start anywhere. Its name is the work's with the character at which the reading began.
    """
    need = (length + shift) * CHARACTERS
    eligible = [w for w in works if len(w.text) >= need]
    if not eligible:
        return []
    ends = np.cumsum([len(w.text) for w in eligible])
    spans: list[tuple[Work, int]] = []
    for i in range(count):
        for attempt in range(TRIES):
            # the first try is stratified over the text, later ones anywhere
            place = (i + rng.random()) / count if not attempt else rng.random()
            at = int(place * int(ends[-1]))
            index = int(np.searchsorted(ends, at, side="right"))
            work = eligible[index]
            begin = paragraph(work.text, at - int(ends[index] - len(work.text)))
            if begin + need <= len(work.text) and all(begin >= e or begin + need <= b for b, e in taken[work.name]):
                taken[work.name].append((begin, begin + need))
                spans.append((work, begin))
                break
    shifts = rng.integers(0, shift + 1, size=len(spans))
    rows = encode(model, [work.text[begin : begin + need] for work, begin in spans])
    found = []
    for (work, begin), ids, first in zip(spans, rows, shifts, strict=True):
        # the last ids may be of a word that was cut in two
        piece = ids[min(int(first), max(0, len(ids) - length - 4)) :][:length]
        if len(piece) >= SHORTEST_WINDOW:
            found.append(Document(f"{work.name}@{begin}", work.source, piece))
    return found


def paragraph(text: str, at: int) -> int:
    """The first beginning of a line at or after a character."""
    return 0 if at == 0 else text.find("\n", at - 1) + 1 or len(text)
