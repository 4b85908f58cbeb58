"""Makes the zoo's `stories-260k` folder and story texts from llama2.c's version-0 export and the TinyStories excerpts.

python tools/convert_stories.py stories260K.bin tok512.bin tinystories-train-part.txt tinystories-valid-part.txt
"""

from __future__ import annotations

import argparse
import bz2
import json
import struct
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, processors

ZOO = Path(__file__).resolve().parent.parent / "src" / "assay" / "zoo"
UNKNOWN, BOS, EOS = "<unk>", "<s>", "</s>"
FIRST_BYTE = 3  # id of byte 0 among the fallback pieces

README = """# stories-260k

A language model of 260 thousand parameters in the Llama format, trained on TinyStories by Andrej Karpathy.

Source: `stories260K.bin` and `tok512.bin` of llama2.c (https://github.com/karpathy/llama2.c,
https://huggingface.co/karpathy/tinyllamas), converted by `tools/convert_stories.py`: the rows of the query and key
matrices are reordered from adjacent pairs to halves (RoPE's convention in `transformers`), the weights are stored in
float16, and the SentencePiece vocabulary became a `tokenizer.json` with the same ids.

Published by its author: validation loss 1.2968.

## Licence (MIT)

Copyright (c) 2023 Andrej

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""

NOTICE = """The two files here are excerpts of TinyStories (Ronen Eldan and Yuanzhi Li, "TinyStories: How Small Can
Language Models Be and Still Speak Coherent English?", 2023, arXiv:2305.07759), which its authors publish under the
Community Data License Agreement - Sharing - Version 1.0 (CDLA-Sharing-1.0, https://cdla.dev/sharing-1-0/).

They are not under the licence of the package: pass them on only under the same agreement and with this notice.

Changes: mojibake repaired, cut-off stories at the ends of the excerpts dropped, compressed with bzip2. A story begins
at each "Once upon a time"; `assay.zoo.corpus.stories` splits there.
"""


def read_checkpoint(path: Path) -> tuple[dict[str, int], dict[str, torch.Tensor]]:
    """Sizes and weights under the library's names, in float32."""
    raw = path.read_bytes()
    names = ("dim", "hidden", "layers", "heads", "kv_heads", "vocab", "context")
    size: dict[str, int] = dict(zip(names, struct.unpack("7i", raw[:28]), strict=True))
    assert size["vocab"] > 0, "a negative vocabulary marks an unembedding of its own, which this model does not have"
    values, at = np.frombuffer(raw, dtype="<f4", offset=28), 0

    def take(*shape: int) -> torch.Tensor:
        nonlocal at
        count = int(np.prod(shape))
        at += count
        return torch.from_numpy(values[at - count : at].reshape(shape).copy())

    dim, hidden, layers = size["dim"], size["hidden"], size["layers"]
    kv = dim // size["heads"] * size["kv_heads"]
    embedding = take(size["vocab"], dim)
    parts = {
        "input_layernorm": take(layers, dim),
        "self_attn.q_proj": halves(take(layers, dim, dim), size["heads"]),
        "self_attn.k_proj": halves(take(layers, kv, dim), size["kv_heads"]),
        "self_attn.v_proj": take(layers, kv, dim),
        "self_attn.o_proj": take(layers, dim, dim),
        "post_attention_layernorm": take(layers, dim),
        "mlp.gate_proj": take(layers, hidden, dim),
        "mlp.down_proj": take(layers, dim, hidden),
        "mlp.up_proj": take(layers, hidden, dim),
    }
    weights = {"model.embed_tokens.weight": embedding, "model.norm.weight": take(dim)}
    for name, stacked in parts.items():
        weights |= {f"model.layers.{layer}.{name}.weight": stacked[layer].clone() for layer in range(layers)}
    return size, weights


def halves(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows from RoPE on adjacent pairs (2i, 2i+1) to RoPE on halves (i, i + d/2), head by head."""
    layers, rows, dim = weight.shape
    return weight.view(layers, heads, rows // heads // 2, 2, dim).transpose(2, 3).reshape(layers, rows, dim)


def read_pieces(path: Path, count: int) -> list[tuple[bytes, float]]:
    """(bytes, score) of every piece, in the order of ids."""
    raw, at, pieces = path.read_bytes(), 4, []
    for _ in range(count):
        score, length = struct.unpack_from("<fi", raw, at)
        pieces.append((raw[at + 8 : at + 8 + length], score))
        at += 8 + length
    return pieces


def make_tokenizer(pieces: list[tuple[bytes, float]]) -> Tokenizer:
    """The same ids as llama2.c: a space in front, the best-scoring pair merged first, bytes for unknown characters."""
    names = [UNKNOWN, BOS, EOS, *(f"<0x{byte:02X}>" for byte in range(256))]
    names += [piece.decode().replace(" ", "▁") for piece, _ in pieces[len(names) :]]
    vocab = {name: index for index, name in enumerate(names)}
    assert len(vocab) == len(pieces), "two pieces of one name"
    merges = []
    ordinary = range(FIRST_BYTE + 256, len(names))
    for index in sorted(ordinary, key=lambda i: -pieces[i][1]):
        name = names[index]
        merges += [
            (name[:cut], name[cut:]) for cut in range(1, len(name)) if name[:cut] in vocab and name[cut:] in vocab
        ]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token=UNKNOWN, fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([UNKNOWN, BOS, EOS])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, vocab[BOS])]
    )
    return tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("pieces", type=Path)
    parser.add_argument("train", type=Path, nargs="?")
    parser.add_argument("valid", type=Path, nargs="?")
    given = parser.parse_args()

    folder = ZOO / "models" / "stories-260k"
    folder.mkdir(parents=True, exist_ok=True)
    size, weights = read_checkpoint(given.checkpoint)
    stored = folder / "model.safetensors"
    save_file({name: value.half().contiguous() for name, value in weights.items()}, stored, {"format": "pt"})
    stored.chmod(0o644)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "bos_token_id": 1,
        "dtype": "float16",
        "eos_token_id": 2,
        "head_dim": size["dim"] // size["heads"],
        "hidden_act": "silu",
        "hidden_size": size["dim"],
        "intermediate_size": size["hidden"],
        "max_position_embeddings": size["context"],
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": size["heads"],
        "num_hidden_layers": size["layers"],
        "num_key_value_heads": size["kv_heads"],
        "pad_token_id": None,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
        "tie_word_embeddings": True,
        "vocab_size": size["vocab"],
    }
    tokenizer = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "unk_token": UNKNOWN,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "generation_config.json").write_text(json.dumps({"bos_token_id": 1, "eos_token_id": 2}, indent=2) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer, indent=2) + "\n")
    make_tokenizer(read_pieces(given.pieces, size["vocab"])).save(str(folder / "tokenizer.json"))
    (folder / "README.md").write_text(README)

    texts = ZOO / "stories"
    for split, path in (("train", given.train), ("valid", given.valid)):
        if path is not None:
            texts.mkdir(exist_ok=True)
            (texts / f"{split}.txt.bz2").write_bytes(bz2.compress(path.read_bytes()))
            (texts / "NOTICE").write_text(NOTICE)


if __name__ == "__main__":
    main()
