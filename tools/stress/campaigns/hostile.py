"""Folders and files that would run code, or have something fetched, where a reader lets them. Each holds code that
makes a file; no file is made, and no socket is opened."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import socket
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from assay.errors import UserError
from assay.explanations.circuit.files import parse
from assay.explanations.claims.file import load_claim
from assay.measure.compute.family import load_family
from assay.model.load import load
from assay.store.runs import read_run
from assay.task.found_on import read_found_on
from assay.task.task import Task
from tools.stress import forks
from tools.stress.models import zoo
from tools.stress.readers import folders

Files = dict[str, bytes]
RAN = "ran"  # the file that code makes


class Payload:
    """A pickle of it runs a command where it is loaded."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.place}'",)


def changed(files: Files, name: str, **fields: Any) -> Files:
    return files | {name: json.dumps(json.loads(files.get(name, b"{}")) | fields).encode()}


def models(files: Files, ran: Path) -> dict[str, Files]:
    """Model folders: code beside the weights, pickles, and names of what is to be fetched."""
    code = f"open({str(ran)!r}, 'w').close()\n".encode()
    own = code + b"class X:\n    pass\n"
    plain = {name: content for name, content in files.items() if name != "model.safetensors"}
    pickled = pickle.dumps(Payload(ran))
    packed = io.BytesIO()
    torch.save({"a": Payload(ran)}, packed)
    legacy = io.BytesIO()
    torch.save({"a": Payload(ran)}, legacy, _use_new_zipfile_serialization=False)
    index = json.dumps({"metadata": {}, "weight_map": {"a": "pytorch_model-00001-of-00001.bin"}}).encode()
    auto = {f"Auto{what}": "own.X" for what in ("Config", "Model", "ModelForCausalLM", "Tokenizer")}
    out: dict[str, Files] = {}
    for known in ("llama", "unheard-of"):
        config = changed(files, "config.json", model_type=known, trust_remote_code=True)
        out[f"auto_map of {known}"] = changed(config, "config.json", auto_map=auto) | {"own.py": own}
        there = {key: f"someone/else--{value}" for key, value in auto.items()}
        out[f"auto_map elsewhere of {known}"] = changed(config, "config.json", auto_map=there)
    tokenizer = {"AutoTokenizer": ["own.X", "own.X"]}
    for field, value in (("auto_map", tokenizer), ("tokenizer_class", "own.X"), ("tokenizer_class", "X")):
        out[f"tokenizer {field} {value}"] = changed(files, "tokenizer_config.json", **{field: value}) | {"own.py": own}
    for field in ("attn_implementation", "_attn_implementation", "_attn_implementation_internal",
                  "experts_implementation", "_name_or_path", "transformers_weights", "base_model_name_or_path",
                  "custom_pipelines", "kernel_config", "hub_kernels"):  # fmt: skip
        out[f"config {field}"] = changed(files, "config.json", **{field: "someone/kernel"})
    for method in ("mxfp4", "bitsandbytes", "gptq", "awq", "aqlm"):
        out[f"quantised {method}"] = changed(files, "config.json", quantization_config={"quant_method": method})
    template = (
        "{{ ''.__class__.__mro__[1].__subclasses__() }}{% for x in cycler.__init__.__globals__.os.popen('touch "
        + (f"{ran}') %}}{{% endfor %}}")
    )
    out["chat template"] = changed(files, "tokenizer_config.json", chat_template=template)
    out["chat template file"] = files | {"chat_template.jinja": template.encode()}
    out["adapter"] = files | {
        "adapter_config.json": b'{"base_model_name_or_path": "someone/else", "peft_type": "LORA"}'
    }
    out["generation"] = files | {"custom_generate/generate.py": code, "generation_config.json": json.dumps(
        {"custom_generate": "someone/else", "cache_implementation": "someone/else"}).encode()}  # fmt: skip
    out["processor"] = files | {"own.py": own, "processor_config.json": json.dumps({"auto_map": auto}).encode(),
                                "preprocessor_config.json": json.dumps({"auto_map": auto}).encode()}  # fmt: skip
    modules = ("torch", "json", "sitecustomize", "usercustomize", "conftest", "__init__", "transformers", "safetensors")
    out["modules"] = files | {f"{name}.py": code for name in modules}
    for name in ("pytorch_model.bin", "model.safetensors"):
        for kind, content in (("pickle", pickled), ("archive", packed.getvalue()), ("legacy", legacy.getvalue())):
            out[f"{kind} as {name}"] = plain | {name: content}
    out["pickles in pieces"] = plain | {
        "pytorch_model.bin.index.json": index, "pytorch_model-00001-of-00001.bin": packed.getvalue()
    }  # fmt: skip
    for name in ("training_args.bin", "optimizer.pt", "tokenizer.pkl", "vocab.txt", "added_tokens.json"):
        out[f"pickle as {name}"] = files | {name: pickled}
    return out


def others(ran: Path) -> dict[str, tuple[Files, Callable[[Path], object]]]:
    """Files of claims, tasks and runs, and what reads them."""
    pickled = np.array([Payload(ran)], dtype=object)
    arrays, member = io.BytesIO(), io.BytesIO()
    np.savez(arrays, allow_pickle=True, inputs=pickled, labels=pickled)
    with zipfile.ZipFile(member, "w") as archive:
        archive.writestr("inputs.npy", pickle.dumps(Payload(ran)))
        archive.writestr("labels", pickle.dumps(Payload(ran)))
    tags = ("python/object/apply:os.system ['touch {}']", "python/object/new:os.system ['touch {}']",
            "python/name:os.system", "python/module:own")  # fmt: skip
    classify = (
        "model: zoo:stories-260k\ntask: {kind: classify, file: a.npz}\nexplanation: {kind: keep, components: [a0.h0]}\n"
    )

    def task(path: Path) -> object:
        return load_claim(path / "claim.yaml").build_task(type("Network", (), {"name": "a network"})())

    out: dict[str, tuple[Files, Callable[[Path], object]]] = {
        "objects in arrays": ({"claim.yaml": classify.encode(), "a.npz": arrays.getvalue()}, task),
        "pickles in arrays": ({"claim.yaml": classify.encode(), "a.npz": member.getvalue()}, task),
        "a pickle as arrays": ({"claim.yaml": classify.encode(), "a.npz": pickle.dumps(Payload(ran))}, task),
    }
    for tag in tags:
        out[f"!!{tag.partition(' ')[0]}"] = ({"claim.yaml": f"model: !!{tag.format(ran)}\n".encode()}, task)
    record, data = json.dumps({"schema": 1}).encode(), pickle.dumps(Payload(ran))
    out["a pickle as a table"] = ({"measurement.json": record, "examples.parquet": data}, read_run)
    out["a pickle as a record"] = ({"measurement.json": data, "examples.parquet": data}, read_run)
    out["a pickle as prompts"] = ({"a.csv": data}, lambda path: Task.prompts(zoo(), str(path / "a.csv")))
    out["a pickle as a family"] = ({"a.json": data}, lambda path: load_family(path / "a.json"))
    out["a pickle as a circuit"] = ({"a.json": data}, lambda path: parse(path / "a.json"))
    out["a pickle as a selection"] = ({"a.json": data}, lambda path: read_found_on(str(path / "a.json"), zoo()))
    return out


class Hostile:
    """Every folder in turn, from a process whose working directory is the folder's, in which a socket is as good as
    code that ran."""

    seconds = 60.0
    known: Sequence[Any] = ()

    def prepare(self, folder: Path) -> None:
        self.ran = folder / RAN
        seed = next(files for files in folders.seeds(folder) if b'"llama"' in files["config.json"])
        self.cases = [(name, files, load) for name, files in models(seed, self.ran).items()]
        self.cases += [(name, *rest) for name, rest in others(self.ran).items()]
        load(self._made(folder, seed))
        zoo()
        Payload(self.ran).__reduce__()[0](f"touch '{self.ran}'")
        assert self.ran.exists(), "a payload does nothing"

    def _made(self, folder: Path, files: Files) -> Path:
        place = folder / "hostile"
        shutil.rmtree(place, ignore_errors=True)
        for name, content in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
        return place

    def write(self, rng: Random, folder: Path, index: int) -> tuple[str, Path, Callable[[Path], object]]:
        name, files, read = self.cases[index % len(self.cases)]
        return name, self._made(folder, files), read

    def read(self, case: tuple[str, Path, Callable[[Path], object]]) -> None:
        name, place, read = case
        self.ran.unlink(missing_ok=True)

        def work() -> None:
            from huggingface_hub import constants

            def asked(*_: object, **__: object) -> None:
                self.ran.touch()
                raise OSError(101, "Network is unreachable")

            socket.getaddrinfo = socket.socket.connect = asked  # type: ignore[assignment, method-assign]
            constants.HF_HUB_OFFLINE = False
            os.chdir(place)
            read(place)

        code = forks.end(forks.start(work))
        assert not self.ran.exists(), f"{name}: code ran, or the network was asked (the reader ended with {code})"
        if code == forks.REFUSED:
            raise UserError(f"{name} is refused")


HOSTILE = Hostile()
