"""A trained network whose circuit is planted: strict interchange training puts each variable into one component.

The task is u + v of two digits. Two heads of the first layer are made to carry one variable each, and the last
MLP the sum: where such a part's output comes from another input, so must its variable (interchange intervention
training, Geiger et al. 2022); where all other parts' outputs come from other inputs, nothing may change (the strict
part of SIIT, Gupta et al. 2024). So it is true of interchange, resampling and counterfactuals; nothing was trained
under zero or mean ablation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from assay.errors import ModelError
from assay.model.load import load
from assay.model.transformer import Model
from assay.planted.compiler import tokenizer_of
from assay.planted.inputs import REFERENCE_ROWS, DataSplit, DrawnExample, Inputs
from assay.planted.world import Truth
from assay.stats.estimate import Undefined
from assay.stats.keyed import generator, torch_generator
from assay.task.task import Task

BOS, END = "<s>", "|"
FILLERS = tuple(f"f{i}" for i in range(1, 9))
LAYERS, HEADS, WIDTH, HIDDEN = 2, 4, 32, 64
U, V, SUM = "a0.h1", "a0.h2", "m1"  # where the two variables and their sum are put
OTHERS = ("a0.h0", "a0.h3", "m0", *(f"a1.h{head}" for head in range(HEADS)))
COLUMN_U, COLUMN_V, ASKED = 1, 3, 5
RIGHT, STILL = 0.99, 0.02  # what must be reached: shares of right answers, and the worst change by idle parts
ABLATIONS = ("counterfactual", "resample_joint", "resample_independent")  # under which the circuit is known
STUCK = 0.5  # nats of strict loss half-way, where the training begins anew
QUIET = 0.2  # of what idle parts write at first, against the others


@dataclass(frozen=True)
class TrainingSettings:
    """Of the training: `steps` of `rows` rows each, begun anew at most `attempts` times where it does not settle."""

    steps: int = 600
    rows: int = 128
    rate: float = 4e-3
    attempts: int = 4
    seed: int = 0


@dataclass(frozen=True, eq=False)
class TrainedWorld:
    """A network with planted variables.

    Attributes:
        name: made of the task and the seed; network: a `GPT2LMHeadModel`; inputs: what it is run on.
        places: component -> the variable that it carries; idle: components that carry nothing of use.
        scores: shares of rows whose answer is right, over all pairs of pairs of digits: "behaviour" as it is; for each
            variable's component where its output comes from the other pair (right: the answer with that variable);
            "strict" where the outputs of all idle components come from other rows; "worst change" of a probability by
            the latter.
    """

    name: str
    network: Any
    inputs: Inputs
    places: Mapping[str, str]
    idle: tuple[str, ...]
    scores: Mapping[str, float]

    @property
    def circuit(self) -> tuple[str, ...]:
        """Edges that suffice while all others are filled from other examples."""
        into = [f"input->{head}<{part}>" for head in (U, V) for part in "qkv"]
        return (*into, f"{U}->{SUM}", f"{V}->{SUM}", f"{SUM}->logits")

    @cached_property
    def model(self) -> Model:
        model = load(self.network, tokenizer=tokenizer_of(self.inputs.words))
        assert isinstance(model, Model)
        return replace(model, name=f"planted:{self.name}")

    def task(self, n: int = 64, seed: int = 0, *, reference: int = REFERENCE_ROWS, metric: str = "loss") -> Task:
        """Rows with one answer, with counterfactuals in which both variables differ."""
        return self.inputs.task(self.model.tokenizer, n, seed, reference=reference, metric=metric)

    def truth(self, ablation: str) -> Truth | Undefined:
        """The circuit in which the training put the variables; how a head finds its own column is left open.

        It may do so by the position alone, which all examples share.
        """
        if ablation not in ABLATIONS:
            return Undefined(f"planted:{self.name} was trained on interchanges, which say nothing of {ablation!r}")
        where = tuple(edge for edge in self.circuit if edge.endswith(("<q>", "<k>")))
        return Truth(edges=tuple(edge for edge in self.circuit if edge not in where), neutral=where)


def sums(seed: int = 0) -> TrainedWorld:
    """The sum of two digits below 5, trained with this seed."""
    return train(settings=TrainingSettings(seed=seed))


def sum_inputs(size: int = 5) -> Inputs:
    """BOS u f v f | s, with s = u + v: numbers u and v below `size`, fillers f."""
    numbers = tuple(str(d) for d in range(2 * size - 1))
    words = (BOS, END, *numbers, *FILLERS)

    def draw(random: np.random.Generator, split: DataSplit) -> DrawnExample:
        first, second = (str(f) for f in random.choice(FILLERS, 2))
        (u, other_u), (v, other_v) = (random.choice(size, 2, replace=False).tolist() for _ in range(2))

        def row(left: int, right: int) -> tuple[str, ...]:
            return BOS, str(left), first, str(right), second, END, str(left + right)

        wrong = (u + v + 1 + int(random.integers(len(numbers) - 1))) % len(numbers)
        return DrawnExample(row(u, v), row(other_u, other_v), str(wrong))

    terms = numbers[:size]
    return Inputs("sums", words, draw, (6,), ((BOS,), terms, FILLERS, terms, FILLERS, (END,), numbers))


def train(size: int = 5, settings: TrainingSettings | None = None) -> TrainedWorld:
    """Trains from scratch, on one thread in well under a minute; the same settings give the same weights.

    Raises:
        ModelError: when the variables did not settle where they were to, in any attempt.
    """
    settings = settings or TrainingSettings()
    inputs = sum_inputs(size)
    scores: dict[str, float] = {}
    for attempt in range(settings.attempts):
        network = _attempt(inputs, size, settings, attempt)
        if network is None:
            continue
        scores = _scores(network, inputs, size, settings.seed)
        if scores["worst change"] <= STILL and min(v for k, v in scores.items() if k != "worst change") >= RIGHT:
            name = f"{inputs.name}_{settings.seed}"
            return TrainedWorld(name, network, inputs, {U: "u", V: "v", SUM: "u + v"}, OTHERS, scores)
    raise ModelError(f"strict interchange training with {settings} did not settle; the last scores are {scores}")


def _attempt(inputs: Inputs, size: int, settings: TrainingSettings, attempt: int) -> Any:
    """The trained network, or None where it is stuck half-way."""
    network = _fresh(len(inputs.words), settings.seed, attempt)
    every = torch.tensor(list(product(range(size), repeat=2)))
    random = torch_generator(settings.seed, "planted training", attempt)
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.rate, betas=(0.9, 0.98))
    for step in range(settings.steps):
        fade = min(1.0, 2 * (settings.steps - step) / settings.steps, (step + 1) / 50)
        for group in optimizer.param_groups:
            group["lr"] = settings.rate * fade
        first = step < settings.steps // 2
        loss = _loss(network, _rows(inputs, every, settings.rows, random), step, alone=first)
        if step == settings.steps // 2 - 1 and float(loss.detach()) > STUCK:
            return None
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    return network.eval()


def _fresh(vocabulary: int, seed: int, attempt: int) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=vocabulary,
        n_positions=8,
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=HEADS,
        n_inner=HIDDEN,
        activation_function="relu",
        bos_token_id=0,
        eos_token_id=0,
        tie_word_embeddings=False,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    network: Any = GPT2LMHeadModel(config)
    random = torch_generator(seed, "planted weights", attempt)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim == 2:
                scale = 0.5 if "wte" in name or "wpe" in name else parameter.shape[0] ** -0.5
                parameter.copy_(torch.randn(parameter.shape, generator=random) * scale)
            else:
                parameter.fill_(float("ln_" in name and name.endswith("weight")))
        # idle parts begin quiet: loud ones drown the others, and what they learn first would stay where it is not to be
        for layer, block in enumerate(network.transformer.h):
            written = block.attn.c_proj.weight.unflatten(0, (HEADS, -1))
            written[[head for head in range(HEADS) if f"a{layer}.h{head}" in OTHERS]] *= QUIET
            if f"m{layer}" in OTHERS:
                block.mlp.c_proj.weight.mul_(QUIET)
    return network.train()


def _rows(inputs: Inputs, every: Tensor, count: int, random: torch.Generator) -> Int[Tensor, "rows pos"]:
    """Random rows up to the place where the answer is asked for."""
    pairs = every[torch.randint(len(every), (count,), generator=random)]
    fillers = torch.randint(len(inputs.words) - len(FILLERS), len(inputs.words), (count, 2), generator=random)
    out = torch.zeros(count, ASKED + 1, dtype=torch.long)
    out[:, COLUMN_U], out[:, COLUMN_V] = pairs[:, 0] + 2, pairs[:, 1] + 2
    out[:, 2], out[:, 4], out[:, ASKED] = fillers[:, 0], fillers[:, 1], 1
    return out


def _answer(u: Tensor, v: Tensor) -> Int[Tensor, "rows"]:
    """The answers' ids, of rows whose columns hold the two variables; the number 0 is word 2."""
    return u[:, COLUMN_U] + v[:, COLUMN_V] - 2


def _loss(network: Any, tokens: Tensor, step: int, *, alone: bool) -> Float[Tensor, ""]:
    """Behaviour, one interchange, and the strict one, in which every part's output comes from a row of its own.

    Rows are random, so that other rows are the same ones in another order. The strict loss comes first and alone: the
    other two can be met by idle parts as well.
    """
    clean, seen = forward(network, tokens, {})
    left, right, last = tokens.roll(1, 0), tokens.roll(2, 0), tokens.roll(3, 0)
    parts = {U: seen[U].roll(1, 0), V: seen[V].roll(2, 0), **_scattered(seen)}
    strict = functional.cross_entropy(forward(network, tokens, parts)[0], _answer(left, right))
    if alone:
        return strict
    place, swapped, u, v = (
        (U, seen[U].roll(1, 0), left, tokens),
        (V, seen[V].roll(2, 0), tokens, right),
        (SUM, seen[SUM].roll(3, 0), last, last),
    )[step % 3]
    given = functional.cross_entropy(forward(network, tokens, {place: swapped})[0], _answer(u, v))
    return strict + given + functional.cross_entropy(clean, _answer(tokens, tokens))


def _scattered(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The idle parts' outputs, each from rows of its own, which are not the variables' either."""
    return {name: values[name].roll(7 * place + 5, dims=0) for place, name in enumerate(OTHERS)}


def forward(
    network: Any, tokens: Int[Tensor, "rows pos"], given: Mapping[str, Tensor]
) -> tuple[Float[Tensor, "rows vocab"], dict[str, Tensor]]:
    """Logits after the last token, and each component's output (z of a head); `given` replaces some. Weights learn."""
    inner = network.transformer
    x = inner.wte(tokens) + inner.wpe.weight[: tokens.shape[1]]
    seen: dict[str, Tensor] = {}
    for layer, block in enumerate(inner.h):
        q, k, v = block.attn.c_attn(block.ln_1(x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        z = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        names = [f"a{layer}.h{head}" for head in range(HEADS)]
        seen |= {name: given.get(name, z[:, head]) for head, name in enumerate(names)}
        x = x + block.attn.c_proj(torch.cat([seen[name] for name in names], dim=-1))
        mlp = block.mlp.c_proj(block.mlp.c_fc(block.ln_2(x)).relu())
        seen[f"m{layer}"] = given.get(f"m{layer}", mlp)
        x = x + seen[f"m{layer}"]
    return network.lm_head(inner.ln_f(x[:, -1])), seen


@torch.no_grad()
def _scores(network: Any, inputs: Inputs, size: int, seed: int) -> dict[str, float]:
    """On every pair of pairs of digits, fillers at random."""
    pairs = torch.tensor(list(product(range(size), repeat=4)))
    random = generator(seed, "planted scores")
    base, source, noise = (torch.zeros(len(pairs), ASKED + 1, dtype=torch.long) for _ in range(3))
    for rows, digits in ((base, pairs[:, :2]), (source, pairs[:, 2:])):
        rows[:, COLUMN_U], rows[:, COLUMN_V] = digits[:, 0] + 2, digits[:, 1] + 2
    noise[:, [COLUMN_U, COLUMN_V]] = torch.from_numpy(random.integers(2, 2 + size, (len(pairs), 2)))
    for rows in (base, source, noise):
        words = random.integers(len(inputs.words) - len(FILLERS), len(inputs.words), (len(pairs), 2))
        rows[:, 2], rows[:, 4], rows[:, ASKED] = torch.from_numpy(words[:, 0]), torch.from_numpy(words[:, 1]), 1
    (clean, _), (_, theirs), (_, others) = (forward(network, rows, {}) for rows in (base, source, noise))
    out = {"behaviour": _right(clean, _answer(base, base))}
    for place in (U, V, SUM):
        swapped = forward(network, base, {place: theirs[place]})[0]
        wanted = _answer(source if place in (U, SUM) else base, source if place in (V, SUM) else base)
        out[place] = _right(swapped, wanted)
    idle = forward(network, base, _scattered(others))[0]
    out["strict"] = _right(idle, _answer(base, base))
    out["worst change"] = float((idle.softmax(-1) - clean.softmax(-1)).abs().max())
    return out


def _right(logits: Tensor, wanted: Tensor) -> float:
    return float((logits.argmax(-1) == wanted).double().mean())
