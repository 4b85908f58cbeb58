"""Trains a member of the built-in `novel` family from its recipe: trunk at a constant rate, a cool-down branched off at
each budget, the loss of every shipped test document stored with each endpoint."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn

from assay.task import documents, zoo_text
from assay.train.trainer import Trainer
from assay.zoo import corpus
from assay.zoo.recipes import BATCH, CONTEXT, COOL_DOWN, RECIPES, VOCABULARY, Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedModel

REPEAT_WINDOWS, REPEAT_LENGTH = 64, 64
LONGEST_REPEAT_PHASE = 4_000
HELP = 300  # steps over which heads are drawn to where they help copying (`repeat_phase`); half as many to let go
FORMED, SCORE = 2.0, 0.6  # nats on the second copy, and a head's induction score, at which the repeat phase ends
WHOLE_VOCABULARY = 480  # steps after which repeats use every token
TENTH = 0.1
WARM_UP = 100


@cache
def encoded(split: str, tokenizer_folder: str) -> dict[str, tuple[str, np.ndarray]]:
    """Token ids of every work of a split: name -> (source, ids), by the family's own tokenizer."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    works = corpus.works(split)
    ids = tokenizer([w.text for w in works], add_special_tokens=False, return_attention_mask=False, verbose=False)
    return {w.name: (w.source, np.array(row, dtype=np.uint16)) for w, row in zip(works, ids["input_ids"], strict=True)}


def text_batches(seed: int, tokenizer_folder: str) -> Callable[[int], Tensor]:
    """step -> [BATCH, CONTEXT] ids: every epoch all windows of the training text, shuffled, cut at a fresh offset."""
    texts = [ids for _, ids in encoded("train", tokenizer_folder).values()]
    body = CONTEXT - 1
    order: dict[int, list[tuple[int, int]]] = {}

    def epoch(number: int) -> list[tuple[int, int]]:
        if number not in order:
            generator = np.random.default_rng([seed, number, 1])
            cuts = [
                (i, start)
                for i, ids in enumerate(texts)
                for start in range(int(generator.integers(body)), len(ids) - body, body)
            ]
            generator.shuffle(cuts)
            order.clear()
            order[number] = cuts
        return order[number]

    size = len(epoch(0)) * 9 // 10 // BATCH  # steps an epoch: fewer than any offset's number of windows

    def batch(step: int) -> Tensor:
        cuts = epoch(step // size)[step % size * BATCH : (step % size + 1) * BATCH]
        rows = np.zeros((BATCH, CONTEXT), dtype=np.int64)
        for row, (i, start) in zip(rows, cuts, strict=True):
            row[1:] = texts[i][start : start + body]
        return torch.from_numpy(rows)

    return batch


def repeated(
    generator: np.random.Generator, rows: int, length: int, periods: tuple[int, int], vocabulary: int
) -> np.ndarray:
    """[rows, length] ids: BOS, then a random span of random period repeated to the end; tokens from a random subset."""
    subset = 1 + generator.permutation(VOCABULARY - 1)[: vocabulary - 1]
    out = np.zeros((rows, length), dtype=np.int64)
    for row in out:
        period = int(generator.integers(periods[0], periods[1] + 1))
        row[1:] = np.resize(generator.choice(subset, size=period), length - 1)
    return out


def followers(batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(row, query, key) of all positions whose token came before: the key is what followed its last occurrence."""
    positions = torch.arange(batch.shape[1], device=batch.device)
    same = (batch[:, :, None] == batch[:, None, :]) & (positions[None, :] < positions[:, None])
    row, query = same.any(-1).nonzero(as_tuple=True)
    return row, query, (same[row, query] * positions).argmax(-1) + 1


@torch.no_grad()
def induction(network: nn.Module, length: int = 32, rows: int = 16) -> tuple[float, float]:
    """On BOS, r, r: the best head's induction score, and the loss of the second copy but for its first token."""
    copy = cast("PreTrainedModel", deepcopy(network)).cpu()
    copy.set_attn_implementation("eager")
    generator = np.random.default_rng(11)
    span = 1 + generator.integers(VOCABULARY - 1, size=(rows, length))
    ids = torch.from_numpy(np.concatenate([np.zeros((rows, 1), dtype=np.int64), span, span], axis=1))
    found = copy(ids, output_attentions=True)
    second = torch.arange(length + 1, 2 * length + 1)
    scores = [a[:, :, second, second - length + 1].mean((0, 2)).max() for a in found.attentions]
    loss = nn.functional.cross_entropy(found.logits[:, length + 1 : -1].flatten(0, 1), ids[:, length + 2 :].flatten())
    return float(max(scores)), float(loss)


def build(recipe: Recipe) -> nn.Module:
    """The untrained network, in the transformers library's Llama format (RoPE, RMSNorm, gated MLP, tied embedding)."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(recipe.seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=recipe.d_model,
        intermediate_size=recipe.d_mlp,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
    )
    network = LlamaForCausalLM(config)
    network.set_attn_implementation("sdpa")
    if recipe.attention_only:
        for name, weight in network.named_parameters():
            if ".mlp." in name:
                nn.init.zeros_(weight)
                weight.requires_grad_(False)
    return network


def flops_per_token(recipe: Recipe) -> int:
    """Training FLOPs a token: three times the forward matrix multiplications, attention and unembedding included."""
    mlp = 0 if recipe.attention_only else 3 * recipe.d_model * recipe.d_mlp
    weights = recipe.layers * (4 * recipe.d_model**2 + mlp) + recipe.d_model * VOCABULARY
    attention = recipe.layers * 2 * recipe.d_model * (CONTEXT + 1) / 2  # causal: half of the square, q·k and pattern·v
    return int(3 * 2 * (weights + attention))


@torch.no_grad()
def document_losses(network: nn.Module, split: str, tokenizer_folder: str) -> dict[str, list[float]]:
    """document name -> [loss sum in nats, tokens], over windows of the family's context, in float32."""
    pieces = []
    for name, (source, ids) in encoded(split, tokenizer_folder).items():
        block = documents.BLOCK if source != "python" else max(len(ids), 1)
        whole = documents.blocks(name, source, ids, block)
        # samples of documents take pieces of long modules: their losses are stored beside the module's
        pieces += whole + [piece for document in whole for piece in zoo_text.pieces(document) if piece is not document]
    cut, device = documents.windows(pieces, CONTEXT, 0), next(network.parameters()).device
    sums, counts = np.zeros(len(pieces)), np.zeros(len(pieces), dtype=int)
    for start in range(0, len(cut.tokens), 64):
        rows = torch.from_numpy(cut.tokens[start : start + 64]).to(device)
        losses = nn.functional.cross_entropy(
            network(rows).logits[:, :-1].transpose(1, 2), rows[:, 1:], reduction="none"
        )
        scored = cut.scored[start : start + 64, 1:]
        per_row = (losses.double().cpu().numpy() * scored).sum(1)
        np.add.at(sums, cut.document[start : start + 64], per_row)
        np.add.at(counts, cut.document[start : start + 64], scored.sum(1))
    return {p.name: [round(float(s), 4), int(c)] for p, s, c in zip(pieces, sums, counts, strict=True) if c}


def constant(step: int) -> float:
    return min(1.0, (step + 1) / WARM_UP)


def precision(device: str) -> torch.dtype:
    """What matrices are multiplied in: bfloat16 where that is faster than float32 (a GPU, a processor with AVX512)."""
    wide = device != "cpu" or torch.backends.cpu.get_cpu_capability() == "AVX512"
    return torch.bfloat16 if wide else torch.float32


def train(
    name: str,
    out: Path,
    *,
    tokenizer: Path,
    device: str = "cpu",
    compile: bool = False,
    say: Callable[[str], None] = print,
) -> Path:
    """Trains (or goes on training) a zoo model; gives the folder, which `transformers` opens.

    The folder holds the model of the last budget that is done, so it can be used while training goes on. Beside the
    model stands `endpoints.json`: for each budget tokens, FLOPs, how far copying has formed (`induction`), and every
    test document's loss sum and token count.
    Checkpoints lie in `checkpoints/` below `out` and may be deleted afterwards.

    Raises:
        KeyError: for a name without a recipe.
    """
    recipe = RECIPES[name]
    folder, work = out / name, out / "checkpoints" / name
    network, multiplied = build(recipe).to(device), precision(device)

    def loss(batch: Tensor) -> Tensor:
        with torch.autocast(device, multiplied, enabled=multiplied != torch.float32):
            logits = network(batch, use_cache=False).logits
        return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), batch[:, 1:].flatten())

    if compile:  # launching kernels one by one takes longer than they do: a graph of them is launched as one
        loss = torch.compile(loss, dynamic=False, mode="default" if device == "cpu" else "reduce-overhead")
    trainer = Trainer(network, loss)
    latest: float | None = None  # of the last steps that were looked at; a run that only ends had none

    def note(step: int, value: float) -> None:
        nonlocal latest
        latest = value
        if step % 200 == 0:
            say(f"{name} step {step}: {value:.4f} nats")

    repeat_steps = repeat_phase(trainer, network, recipe, work, device, say) if recipe.repeats else 0
    text = text_batches(recipe.seed, str(tokenizer))

    def batch(step: int) -> Tensor:
        rows = text(step)
        if recipe.repeats:
            generator = np.random.default_rng([recipe.seed, step, 3])
            count = max(1, round(BATCH * TENTH))
            rows[:count] = torch.from_numpy(repeated(generator, count, CONTEXT, (4, (CONTEXT - 1) // 2), VOCABULARY))
        return rows.to(device)

    tokens_a_step, endpoints = BATCH * CONTEXT, []
    trainer.load(work / "trunk.pt")
    for budget in recipe.budgets:
        end, done = math.ceil(budget / tokens_a_step), work / f"endpoint-{budget}.json"
        branch = round(end * (1 - COOL_DOWN))
        if not done.exists():
            trainer.run(branch, batch, constant, checkpoint=work / "trunk.pt", log=note)
            trunk = trainer.state()

            def fall(step: int, branch: int = branch, end: int = end) -> float:
                return (end - step) / (end - branch)

            falling = work / f"falling-{budget}.pt"
            trainer.load(falling)
            trainer.run(end, batch, fall, checkpoint=falling, log=note)
            shipped = deepcopy(network).half()  # the stored losses are those of the stored weights
            cast("PreTrainedModel", shipped).save_pretrained(folder)
            score, second = induction(shipped.float())
            endpoint = {
                "tokens": end * tokens_a_step,
                "repeat_steps": repeat_steps,
                "flops": flops_per_token(recipe) * end * tokens_a_step
                + flops_per_token(recipe) * repeat_steps * REPEAT_WINDOWS * REPEAT_LENGTH,
                "precision": str(multiplied).removeprefix("torch."),
                "train_loss": latest,
                "induction": {"score": score, "second_copy_nats": second},
                "documents": {s: document_losses(shipped, s, str(tokenizer)) for s in ("test", "unseen")},
            }
            whole = [v for name, v in endpoint["documents"]["test"].items() if ":" not in name]  # without their pieces
            total = np.array(whole).sum(0)
            say(f"{name} at {budget} tokens: test loss {total[0] / total[1]:.4f} nats, induction {score:.2f}")
            done.write_text(json.dumps(endpoint))
            trainer.restore(trunk)
            falling.unlink()
        endpoints.append(json.loads(done.read_text()))
        (folder / "endpoints.json").write_text(json.dumps(endpoints))
    return folder


def repeat_phase(
    trainer: Trainer, network: nn.Module, recipe: Recipe, work: Path, device: str, say: Callable[[str], None]
) -> int:
    """Nothing but repeats until second copies are predicted; gives the number of steps taken, leaves step 0 behind."""
    done = work / "repeat-phase.json"
    if done.exists():
        if not (work / "trunk.pt").exists():
            trainer.load(work / "repeated.pt")
            trainer.step = 0
        return json.loads(done.read_text())["steps"]
    history: list[tuple[int, float, float]] = []

    def batch(step: int) -> Tensor:
        generator = np.random.default_rng([recipe.seed, step, 2])
        vocabulary = min(VOCABULARY, 256 + 8 * step)
        return torch.from_numpy(repeated(generator, REPEAT_WINDOWS, REPEAT_LENGTH, (4, 32), vocabulary)).to(device)

    def note(step: int, value: float) -> None:
        if step % 50 == 0:
            history.append((step, *induction(network)))
            _, score, second = history[-1]
            say(f"repeats, step {step}: {value:.3f} nats, induction {score:.2f}, second copy {second:.2f}")

    def formed() -> bool:
        return bool(history) and history[-1][1] > SCORE and history[-1][2] < FORMED and trainer.step >= WHOLE_VOCABULARY

    def helped(batch: Tensor) -> Tensor:
        """Without help a model learns to copy from any offset after the match (six, in two runs), as cycles allow."""
        found = network(batch, output_attentions=True)
        loss = nn.functional.cross_entropy(found.logits[:, :-1].flatten(0, 1), batch[:, 1:].flatten())
        weight = min(1.0, max(0.0, 1.0 - (trainer.step - HELP) / (HELP / 2)))
        later = torch.arange(1, batch.shape[1], device=device)
        loss = loss - weight * found.attentions[0][:, 0, later, later - 1].clamp(min=1e-6).log().mean()
        if not recipe.shown:
            return loss
        row, query, key = followers(batch)
        return loss - weight * found.attentions[1][row, 0, query, key].clamp(min=1e-6).log().mean()

    trainer.load(work / "repeating.pt")
    plain, trainer.loss = trainer.loss, helped
    cast("PreTrainedModel", network).set_attn_implementation("eager")
    trainer.run(LONGEST_REPEAT_PHASE, batch, constant, checkpoint=work / "repeating.pt", log=note, stop=formed)
    cast("PreTrainedModel", network).set_attn_implementation("sdpa")
    trainer.loss = plain
    steps, trainer.step = trainer.step, 0
    trainer.save(work / "repeated.pt")
    done.write_text(json.dumps({"steps": steps, "history": history}))
    return steps
