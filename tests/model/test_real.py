"""SmolLM2-135M, a real language model of 30 layers. `make real` fetches it; elsewhere these tests skip."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

import assay
from assay.errors import ModelError
from assay.model.proof import FACTOR
from assay.model.proving import proof_tokens, relative
from assay.model.transformer import Model
from assay.zoo import index
from tools.proof import mistakes, proved

NAME = "zoo:smollm2-135m"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not (index.place(NAME) / "config.json").exists(), reason="zoo:smollm2-135m is not fetched"),
]


@pytest.fixture(scope="module")
def model() -> Model:
    found = assay.load(NAME)
    assert isinstance(found, Model)
    return found


@torch.no_grad()
def test_it_opens_with_its_documents_token_and_passes_the_proof(model: Model):
    assert (model.config.layers, model.config.heads, model.config.vocab, model.bos) == (30, 9, 49_152, 0)
    assert model.proof.layers < FACTOR
    assert model.proof.logits < 1e-5


PLANTED = (
    "1 % of a0.h0's output",
    "1 % of a15.h8's output",
    "layer 29: another scaling",
    "layer 15: value groups swapped",
    "another RoPE base",
)


@torch.no_grad()
@pytest.mark.parametrize("what", PLANTED)
def test_a_mistake_anywhere_in_thirty_layers_is_refused(model: Model, what: str):
    """What moves the logits by ten times their rounding; less is refused on one processor and not on another."""
    wrong = next(view for name, view in mistakes(model) if name == what)
    tokens = proof_tokens(model.config.vocab, model.config.context)
    assert relative(wrong(tokens).double(), model(tokens).double()) > 10 * model.proof.rounding
    with pytest.raises(ModelError, match="fails the proof on load"):
        proved(wrong)


@torch.no_grad()
def test_induction_formed_by_itself(model: Model):
    """64 random tokens, twice: the second copy is at least 8 nats better, and a18.h6 attends to what followed."""
    generator = torch.Generator().manual_seed(0)
    span = torch.randint(1_000, 40_000, (2, 64), generator=generator)
    tokens = torch.cat([torch.zeros(2, 1, dtype=torch.int64), span, span], dim=1)
    seen: list[Tensor] = []
    logits = model.forward(tokens, {("pattern", 18): seen.append})
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none")
    assert float(loss[:, :64].mean() - loss[:, 64:].mean()) > 8
    second = torch.arange(65, 129)
    assert float(seen[0][:, 6, second, second - 63].mean()) > 0.6


@torch.no_grad()
def test_the_indirect_object_is_preferred(model: Model):
    text = "When Mary and John went to the store, John gave a drink to"
    ids = torch.tensor([[0, *model.tokenizer(text, add_special_tokens=False)["input_ids"]]])
    mary, john = (model.tokenizer(name, add_special_tokens=False)["input_ids"] for name in (" Mary", " John"))
    logits = model(ids)[0, -1]
    assert float(logits[mary[0]] - logits[john[0]]) > 3


def test_the_built_in_text_is_read_in_its_tokens(model: Model):
    task = assay.Task.text(model, split="test", max_documents=9, context=256)
    assert set(task.strata) == {"en", "fr", "python"}
    assert (task.tokens[:, 0] == 0).all()
    assert "may have seen" in task.name


def test_the_hubs_own_name_opens_what_the_hub_gave_this_machine(tmp_path: Path):
    """As the hub's client keeps it; the network is not asked."""
    hub = tmp_path / "hub" / "models--HuggingFaceTB--SmolLM2-135M-Instruct"
    (hub / "refs").mkdir(parents=True)
    (hub / "refs" / "main").write_text("abc")
    (hub / "snapshots" / "abc").mkdir(parents=True)
    for file in index.place(NAME).iterdir():
        (hub / "snapshots" / "abc" / file.name).symlink_to(file)
    script = (
        "import assay\nmodel = assay.load('HuggingFaceTB/SmolLM2-135M-Instruct')\n"
        "task = assay.Task.text(model, split='test', max_documents=8, context=64, bos='<|endoftext|>')\n"
        "print(model.config.layers, set(task.tokens[:, 0].tolist()))"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "30 {0}", done.stderr
