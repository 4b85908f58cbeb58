"""Opens what is to be explained: a zoo name, a hub id, a folder, a transformers model in memory, or any `nn.Module`.

Nothing that is opened can run code: safetensors or weights-only checkpoints, and never a repository's own Python.
"""

from __future__ import annotations

import copy
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from assay import inputs
from assay.errors import ModelError, UserError, nearest
from assay.model.families import FAMILIES
from assay.model.module import ModuleModel, evaluating
from assay.model.proof import prove
from assay.model.transformer import Model
from assay.zoo.index import PREFIX, names
from assay.zoo.index import folder as zoo_folder

DTYPES = {"float64": torch.float64, "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")


def load(
    source: str | Path | nn.Module,
    *,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    revision: str | None = None,
    tokenizer: Any = None,
) -> Model | ModuleModel:
    """Opens a model and proves that the component view computes what the library computes.

    Args:
        source: "zoo:NAME", a folder in the hub's format, a hub id, a transformers model, or any module.
        dtype: float32 (the default for what is read from disk), float64, bfloat16 or float16. A model in memory keeps
            its own; with another dtype or device than its own, a copy is explained.
        device: where to run; default: the CPU for what is read from disk, its own for a model in memory.
        revision: of a hub id.
        tokenizer: for a model in memory that comes without one.

    Returns:
        A `Model` for the families of `assay.model.families`, a `ModuleModel` (named submodules) for anything else.

    Raises:
        ModelError: in one sentence, for what cannot be found, read, supported or proved.

    Example:
        >>> import assay
        >>> model = assay.load("zoo:stories-260k")
        >>> model.components[:3], model.config.layers
        (('input', 'a0.h0', 'a0.h1'), 5)
    """
    wanted = _dtype(dtype)
    if device is not None:
        _check_device(device)
    if isinstance(source, nn.Module):
        network = source
        if (wanted is not None and wanted != _first(network).dtype) or (
            device is not None and not _same_device(torch.device(device), _first(network).device)
        ):
            network = copy.deepcopy(network).to(device=device, dtype=wanted)
        return _view(network, _name_of(network), tokenizer or _own_tokenizer(network))
    name = str(source)
    place = str(zoo_folder(name)) if name.startswith(PREFIX) else str(inputs.place(name))
    if os.path.exists(place) or _looks_local(name):
        _check_folder(place)
        network, found = _read(place, name, wanted, None, local=True)
    else:
        network, found = _read(place, name, wanted, revision, local=not _reachable(name, revision))
    if device is not None:
        network = network.to(device)
    return _view(network, name, tokenizer or found)


def _check_device(device: str | torch.device) -> None:
    """Raises `ModelError` for a device that this machine, or this build of torch, does not have."""
    try:
        torch.zeros(1, device=device)
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        valid = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        valid += ["mps"] if torch.backends.mps.is_available() else []
        raise ModelError(f"the device {str(device)!r} is not available here" + nearest(device, valid)) from error


def _view(network: nn.Module, name: str, tokenizer: Any) -> Model | ModuleModel:
    """The component view where the family is known, else the view of named submodules."""
    _check_finite(network, name)
    config = getattr(network, "config", None)
    family = getattr(config, "model_type", None)
    if family not in FAMILIES or not hasattr(network, "lm_head"):
        return ModuleModel(network, name, tokenizer=tokenizer)
    try:
        shape, weights, window = FAMILIES[family](config, network)
    except ModelError as error:
        raise ModelError(f"{name} ({family}) cannot be opened: {error}") from None
    except AttributeError as error:
        raise ModelError(f"{name} says that it is {family!r} but lacks one of that family's parts: {error}") from None
    _check_vocabulary(name, tokenizer, shape.vocab)
    model = Model(name, family, shape, weights, network, tokenizer, _bos(config, tokenizer, shape.vocab), window)

    def library(tokens: Tensor) -> Tensor:
        with evaluating(network):
            return network(input_ids=tokens, use_cache=False).logits

    return replace(model, proof=prove(model, library))


def _read(
    place: str, name: str, dtype: torch.dtype | None, revision: str | None, *, local: bool
) -> tuple[nn.Module, Any]:
    """The library's model (evaluation mode, CPU) and tokenizer of a folder or hub id."""
    import transformers
    from transformers import AutoConfig

    options = {"revision": revision, "trust_remote_code": False, "local_files_only": local}
    try:
        with _quiet():
            config = AutoConfig.from_pretrained(place, **options)
            kind: Any = transformers.AutoModelForCausalLM
            if (
                config.model_type not in FAMILIES and config.architectures
            ):  # the library's own class, never the folder's
                named = getattr(transformers, str(config.architectures[0]), None)
                if isinstance(named, type) and issubclass(named, transformers.PreTrainedModel):
                    kind = named
            opened = kind.from_pretrained(
                place,
                config=config,
                dtype=dtype or torch.float32,
                output_loading_info=True,
                weights_only=True,
                **options,
            )
    except Exception as error:  # safetensors, pickle and the hub's client have classes of their own
        raise ModelError(_reading_failed(name, error)) from None
    network, info = opened
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelError(f"{name} lacks {len(missing)} of its weights, the first of them {missing[0]!r}")
    return network.eval(), _tokenizer(place, options)


def _reachable(name: str, revision: str | None) -> bool:
    """Whether the hub has this model; False where only files fetched earlier can help. One question, no retries."""
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    advice = f"give a built-in model{nearest(PREFIX + name, map(PREFIX.__add__, names()))} or a folder, or a hub id"
    try:
        HfApi().model_info(name, revision=revision, timeout=10)
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError):
        where = "" if revision is None else f" at revision {revision!r}"
        raise ModelError(f"there is no folder {name!r} here and no such model{where} on the hub; {advice}") from None
    except HfHubHTTPError as error:
        raise ModelError(f"the hub refuses {name!r}: {' '.join(str(error).split())[:200]}") from None
    except Exception as error:  # no network: the client's transport has errors of its own
        if not isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str):
            raise ModelError(
                f"there is no folder {name!r} here and the model hub cannot be reached ({error}); {advice}"
            ) from None
        return False
    return True


def _reading_failed(name: str, error: Exception) -> str:
    if "trust_remote_code" in str(error) or "custom code" in str(error):
        return f"{name} needs code of its own to run, which assay never runs"
    unknown = re.search(r"model type `([^`]+)`", str(error))
    if unknown:  # the library adds advice of five lines
        import transformers

        return f"{name} is of the kind {unknown[1]!r}, which transformers {transformers.__version__} does not know"
    return f"{name} cannot be read as a model ({type(error).__name__}: {' '.join(str(error).split())[:240]})"


def _tokenizer(place: str, options: dict[str, Any]) -> Any:
    from transformers import AutoTokenizer

    if Path(place).is_dir() and not any((Path(place) / file).exists() for file in TOKENIZER_FILES):
        return None
    try:
        with _quiet():
            return AutoTokenizer.from_pretrained(place, **options)
    except Exception as error:
        if Path(place).is_dir():
            raise ModelError(f"the tokenizer in {place} cannot be read ({type(error).__name__}: {error})") from None
        return None


def _own_tokenizer(network: nn.Module) -> Any:
    """The tokenizer beside the files that a model in memory came from, if they are on this machine."""
    place = getattr(getattr(network, "config", None), "_name_or_path", "")
    if not place:
        return None
    try:
        return _tokenizer(place, {"trust_remote_code": False, "local_files_only": True})
    except ModelError:
        return None


def _check_folder(place: str) -> None:
    if not os.path.exists(place):
        raise ModelError(f"the folder {place!r} does not exist")
    if not os.path.isdir(place):
        raise ModelError(f"{place!r} is a file; give the folder that holds config.json and model.safetensors")
    if not os.path.exists(os.path.join(place, "config.json")):
        raise ModelError(f"the folder {place!r} holds no config.json, so it is not a model in the hub's format")


def _check_finite(network: nn.Module, name: str) -> None:
    for key, parameter in network.named_parameters():
        values = parameter.detach()
        if values.device.type != "meta" and not bool(torch.isfinite(values).all()):
            bad = int((~torch.isfinite(values)).sum())
            raise ModelError(f"{name}: the weights {key!r} hold {bad} NaN or infinite values")


def _check_vocabulary(name: str, tokenizer: Any, vocab: int) -> None:
    if tokenizer is None:
        return
    largest = max(tokenizer.get_vocab().values(), default=-1) + 1
    if largest > vocab:
        raise ModelError(f"{name}: the tokenizer has {largest} entries but the model's vocabulary only {vocab}")


def _bos(config: Any, tokenizer: Any, vocab: int) -> int | None:
    """The tokenizer's BOS, else the configuration's."""
    for value in (getattr(tokenizer, "bos_token_id", None), getattr(config, "bos_token_id", None)):
        if isinstance(value, int) and 0 <= value < vocab:
            return value
    return None


def _dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    if dtype is None or isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in DTYPES:
        raise UserError(f"the dtype {dtype!r} is not known; valid: {', '.join(DTYPES)}")
    return DTYPES[dtype]


def _first(network: nn.Module) -> Tensor:
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.is_floating_point():
            return tensor
    return torch.empty(0)


def _same_device(wanted: torch.device, own: torch.device) -> bool:
    return wanted.type == own.type and wanted.index in (None, own.index)


def _name_of(network: nn.Module) -> str:
    return getattr(getattr(network, "config", None), "_name_or_path", "") or type(network).__name__


def _looks_local(place: str) -> bool:
    """A path by its form, so that a mistyped folder is not asked of the hub: a hub id is NAME or OWNER/NAME."""
    return place.startswith((".", "/", "~")) or place.count("/") > 1 or place == ""


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's progress bars and remarks: what matters becomes an error here."""
    from transformers.utils import logging as library

    bars, level = library.is_progress_bar_enabled(), library.get_verbosity()
    library.disable_progress_bar()
    library.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        library.set_verbosity(level)
        if bars:
            library.enable_progress_bar()
