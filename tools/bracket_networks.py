"""Strings of brackets, and networks that are trained to tell balanced ones: what `tools.brackets` measures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from assay.train.trainer import OptimiserSettings, Trainer

WORDS = ("<s>", "(", ")", "=", "yes", "no")  # their places are their ids
KINDS = ("balanced", "only the count fails", "only the horizon fails", "both fail")
SHARES = (0.4, 0.2, 0.2, 0.2)
TRAINED, LENGTHS = range(4, 21, 2), (16, 18, 20)  # brackets in a string; the second, of what is held out and scored
HELD = 4  # of so many strings one is kept from training
SCORED, SEARCHED, REFERENCE = range(3)  # parts of what is held out

# -- the strings: [n, length] of +1 (opens) and -1 (closes)


def balanced(random: np.random.Generator, n: int, length: int) -> np.ndarray:
    """Each balanced string is as likely as any (cycle lemma)."""
    steps = np.tile(np.repeat([1, -1], [length // 2, length // 2 + 1]), (n, 1))
    steps = random.permuted(steps, axis=1)
    start = steps.cumsum(1).argmin(1)[:, None] + 1
    return np.take_along_axis(steps, (start + np.arange(length)) % (length + 1), 1)


def _flipped(random: np.random.Generator, steps: np.ndarray, sign: int) -> np.ndarray:
    """One to three brackets of a sign turned into the other."""
    rank = np.where(steps == sign, random.random(steps.shape), 2.0).argsort(1).argsort(1)
    many = random.choice([1, 2, 3], p=[0.6, 0.25, 0.15], size=(len(steps), 1))
    return np.where((rank < many) & (steps == sign), -steps, steps)


def _reflected(random: np.random.Generator, steps: np.ndarray) -> np.ndarray:
    """Of a balanced string one part between two heights of zero turned over: it dips there, and nowhere else."""
    zeros = (steps.cumsum(1) == 0).cumsum(1)
    part = np.concatenate([np.zeros((len(steps), 1), dtype=zeros.dtype), zeros[:, :-1]], 1)
    which = np.take_along_axis(part, random.integers(0, steps.shape[1], (len(steps), 1)), 1)
    return np.where(part == which, -steps, steps)


def kind_of(steps: np.ndarray) -> np.ndarray:
    """[n] the place of each string's kind in `KINDS`."""
    return (steps.sum(1) != 0) + 2 * (steps.cumsum(1).min(1) < 0)


def strings(random: np.random.Generator, kind: int, n: int, length: int) -> np.ndarray:
    """At most n strings of a kind; of those whose horizon fails, half is a balanced one with a part reflected."""
    some = balanced(random, n, length)
    if kind >= 2:
        even = random.permuted(np.tile(np.repeat([1, -1], length // 2), (n, 1)), axis=1)
        some = np.where(random.random((n, 1)) < 0.5, even, _reflected(random, some))
    if kind == 1:
        some = _flipped(random, some, -1)
    if kind == 3:
        some = np.where(random.random((n, 1)) < 0.5, _flipped(random, some, -1), _flipped(random, some, 1))
    return some[kind_of(some) == kind]


def held(steps: np.ndarray) -> np.ndarray:
    """[n] whether each is kept from training."""
    code = (steps > 0) @ (1 << np.arange(steps.shape[1]))
    return (code * 2654435761 // 65536) % HELD == 0


@cache
def _kept(seed: int, kind: int, length: int) -> np.ndarray:
    random = np.random.default_rng([seed, kind, length])
    some = strings(random, kind, 6_000, length)
    return random.permutation(np.unique(some[held(some)], axis=0))


def held_out(seed: int, kind: int, length: int, part: int, n: int) -> np.ndarray:
    """At most n different strings of a kind that no training has seen; no string is in two parts."""
    return _kept(seed, kind, length)[part::3][:n]


def encoded(steps: np.ndarray) -> Tensor:
    """[n, length + 3] ids: the start, the string, "=", the answer."""
    ids = np.empty((len(steps), steps.shape[1] + 3), dtype=np.int64)
    ids[:, 0], ids[:, -2] = WORDS.index("<s>"), WORDS.index("=")
    ids[:, 1:-2] = np.where(steps > 0, WORDS.index("("), WORDS.index(")"))
    ids[:, -1] = np.where(kind_of(steps) == 0, WORDS.index("yes"), WORDS.index("no"))
    return torch.from_numpy(ids)


def prompts(seed: int, part: int, n: int) -> list[dict[str, str]]:
    """About n prompts of a part of what is held out, as `Task.prompts` takes them."""
    out = []
    for length in LENGTHS:
        for kind, part_of in enumerate(SHARES):
            for ids in encoded(held_out(seed, kind, length, part, round(n * part_of / len(LENGTHS)))).tolist():
                answer, other = ("yes", "no") if kind == 0 else ("no", "yes")
                clean = " ".join(WORDS[one] for one in ids[1:-1])
                out.append({"clean": clean, "correct": answer, "incorrect": other})
    return out


# -- the network


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="="))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", unk_token="=")


def network(seed: int, layers: int = 2, heads: int = 4, width: int = 32) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    net = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(WORDS),
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            max_position_embeddings=max(TRAINED) + 4,
            tie_word_embeddings=False,
            bos_token_id=0,
            eos_token_id=0,
        )
    )
    net.set_attn_implementation("sdpa")
    return net


def padded(some: Sequence[Tensor]) -> Tensor:
    """Strings of several lengths in one batch; no column reads those behind it, so what is behind does no harm."""
    width = max(one.shape[1] for one in some)
    return torch.cat([nn.functional.pad(one, (0, width - one.shape[1])) for one in some])


def train(net: Any, seed: int, steps: int, *, taught: bool = False, batch: int = 256) -> None:
    """Trains it on the answers alone; or `taught`, on those after swaps too, which makes the published one right: what
    enters the last layer at the end is taken from a second string, what its heads write there from a third, and the
    answer is that of the second one's count and the third one's horizon (Geiger et al. 2022)."""
    layer, kept = net.model.layers[-1], dict[str, Tensor]()
    hooks = (
        layer.register_forward_pre_hook(lambda module, given: kept.update(stream=given[0])),
        layer.self_attn.register_forward_hook(lambda module, given, out: kept.update(heads=out[0])),
    )

    def rows(step: int) -> Tensor:
        random = np.random.default_rng([seed, step])
        some = []
        for length in random.choice(TRAINED, 4, replace=False).tolist():
            for kind, part in enumerate(SHARES):
                fresh = strings(random, kind, int(part * batch / 2), length)
                some.append(encoded(fresh[~held(fresh)][: int(part * batch / 4)]))
        return padded(some)

    def loss(ids: Tensor) -> Tensor:
        every, end = torch.arange(len(ids)), (ids == WORDS.index("=")).int().argmax(1)
        logits = net(ids, use_cache=False).logits[every, end]
        found = nn.functional.cross_entropy(logits, ids[every, end + 1])
        if not taught:
            return found
        steps = (ids == WORDS.index("(")).int() - (ids == WORDS.index(")")).int()
        count, horizon = steps.sum(1) == 0, steps.cumsum(1).min(1).values >= 0
        random = torch.Generator().manual_seed(int(ids.sum()))
        second, third = (torch.randperm(len(ids), generator=random) for _ in range(2))
        which = torch.randint(3, (len(ids),), generator=random)  # the count's, the horizon's, or both
        second, third = torch.where(which == 1, every, second), torch.where(which == 0, every, third)
        stream = kept["stream"][every, end][second] + kept["heads"][every, end][third]
        stream = stream + layer.mlp(layer.post_attention_layernorm(stream))
        yes, no = WORDS.index("yes"), WORDS.index("no")
        wanted = torch.where(count[second] & horizon[third], yes, no)
        return found + nn.functional.cross_entropy(net.lm_head(net.model.norm(stream)), wanted)

    def rate(step: int) -> float:
        return min(1.0, step / 100) * 0.5 * (1 + float(np.cos(np.pi * step / steps)))

    Trainer(net, loss, OptimiserSettings(3e-3)).run(steps, rows, rate)
    for hook in hooks:
        hook.remove()
    net.eval()


def accuracies(net: Any, seed: int, n: int = 500) -> list[tuple[float, int]]:
    """Of each kind the share of strings that are answered rightly, and how many there were, none seen in training."""
    out = []
    for kind in range(len(KINDS)):
        right: list[bool] = []
        for length in LENGTHS:
            for part in range(3):
                ids = encoded(held_out(seed, kind, length, part, n))
                with torch.no_grad():
                    right += (net(ids[:, :-1]).logits[:, -1].argmax(1) == ids[:, -1]).tolist()
        out.append((float(np.mean(right)), len(right)))
    return out
