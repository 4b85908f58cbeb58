"""Opens what is to be explained: a zoo name, a hub id, a folder, a transformers model in memory, or any `nn.Module`.

Nothing that is opened can run code: safetensors or weights-only checkpoints, and never a repository's own Python.
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from assay.errors import ModelError, UserError, notice, said
from assay.model import spec
from assay.model.admit import (
    check_device,
    check_finite,
    check_held,
    check_types,
    check_vocabulary,
    foreign,
    not_a_model,
    reading_failed,
)
from assay.model.families import FAMILIES
from assay.model.folder import HOLDS, check_folder, looks_local
from assay.model.module import ModuleModel, evaluating
from assay.model.neighbours import unwrapped
from assay.model.proving import prove
from assay.model.stored import check_counts, check_size, configuration, shapes
from assay.model.transformer import Model
from assay.store import inputs
from assay.zoo.index import PREFIX, names
from assay.zoo.index import folder as zoo_folder

DTYPES = {name: getattr(torch, name) for name in spec.DTYPES}
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")


def load(
    source: Any,
    *,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    revision: str | None = None,
    tokenizer: Any = None,
) -> Model | ModuleModel:
    """`assay.load` for everything but planted worlds: a zoo name, a folder, a hub id, a transformers model, any module,
    and what TransformerLens, nnsight and peft wrap.

    Raises:
        ModelError: in one sentence, for what cannot be found, read, supported or proved.
    """
    wanted = _dtype(dtype)
    if device is not None:
        check_device(device)
    if (found := unwrapped(source)) is not None:
        source, tokenizer = found.network, tokenizer or found.tokenizer
    if isinstance(source, nn.Module):
        network, name = source, _name_of(source) + (found.suffix if found else "")
        check_held(network, name)
        types = {p.dtype for p in network.parameters() if p.is_floating_point()} or {_first(network).dtype}
        if (wanted is not None and types != {wanted}) or (
            device is not None and not _same_device(torch.device(device), _first(network).device)
        ):
            network = copy.deepcopy(network).to(device=device, dtype=wanted)
        check_types(network, name)
        return _view(network, name, tokenizer or _own_tokenizer(network))
    if not isinstance(source, str | Path):
        raise ModelError(not_a_model(source))
    name = str(source)
    place = str(zoo_folder(name)) if name.startswith(PREFIX) else str(inputs.place(name))
    if os.path.exists(place) or looks_local(name):
        check_folder(place)
        network, found = _read(place, name, wanted, None, local=True)
    else:
        network, found = _read(place, name, wanted, revision, local=not _reachable(name, revision))
    if device is not None:
        network = network.to(device)
    return _view(network, name, tokenizer or found)


def _view(network: nn.Module, name: str, tokenizer: Any) -> Model | ModuleModel:
    """The component view where the family is known, else the view of named submodules."""
    check_finite(network, name)
    config = getattr(network, "config", None)
    family = getattr(config, "model_type", None)
    if family not in FAMILIES or not hasattr(network, "lm_head"):
        if isinstance(family, str):
            why = f"is of the family {family!r}" if family not in FAMILIES else "has no language-model head (lm_head)"
            notice(
                f"{name!r} {why}, so it is opened as a network of named submodules, without heads, MLPs and edges, for "
                f"tasks of kind 'classify'; those are known of language models of the families {', '.join(FAMILIES)}"
            )
        return ModuleModel(network, name, tokenizer=tokenizer)
    try:
        shape, weights, window = FAMILIES[family].read(config, network)
    except ModelError as error:
        raise ModelError(f"{name} ({family}) cannot be opened: {error}") from None
    except AttributeError as error:
        raise ModelError(f"{name} says that it is {family!r} but lacks one of that family's parts: {error}") from None
    except Exception as error:  # a configuration may hold any values
        raise ModelError(f"{name} ({family}) cannot be opened ({said(error)})") from None
    check_vocabulary(name, tokenizer, shape.vocab)
    model = Model(name, family, shape, weights, network, tokenizer, _bos(config, tokenizer, shape.vocab), window)

    def run(tokens: Tensor) -> Tensor:
        return network(input_ids=tokens, use_cache=False).logits

    try:
        with evaluating(network):
            return replace(model, proof=prove(model, FAMILIES[family].library(network), run))
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"{name} ({family}) cannot be run ({said(error)})") from None


def _read(
    place: str, name: str, dtype: torch.dtype | None, revision: str | None, *, local: bool
) -> tuple[nn.Module, Any]:
    """The library's model (evaluation mode, CPU) and tokenizer of a folder or hub id."""
    from transformers import AutoConfig

    options = {"revision": revision, "trust_remote_code": False, "local_files_only": local}
    try:
        with _quiet():
            stored = None
            if Path(place).is_dir():
                settings, stored = configuration(Path(place)), shapes(Path(place))
                if stored is not None:
                    check_counts(settings, stored)
            config = AutoConfig.from_pretrained(place, **options)
            config._attn_implementation = config._experts_implementation = None  # a folder could name a hub's kernel
            kind = _class_of(config)
            if stored is not None:
                build = kind.from_config if hasattr(kind, "from_config") else kind._from_config
                with torch.device("meta"):
                    check_size(build(config), stored)
            opened = kind.from_pretrained(
                place,
                config=config,
                dtype=dtype or torch.float32,
                output_loading_info=True,
                weights_only=True,
                **options,
            )
    except ModelError as error:
        raise ModelError(f"{name} cannot be opened: {error}") from None
    except Exception as error:  # safetensors, pickle and the hub's client have classes of their own
        raise ModelError(reading_failed(name, error)) from None
    network, info = opened
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelError(
            f"{name} lacks {len(missing)} of its weights, the first of them {missing[0]!r}"
            + foreign(info["unexpected_keys"])
        )
    return network.eval(), _tokenizer(place, options)


def _class_of(config: Any) -> Any:
    """The library's class for a configuration: its own for other architectures, and never the folder's."""
    import transformers

    if config.model_type not in FAMILIES and config.architectures:
        named = getattr(transformers, str(config.architectures[0]), None)
        if isinstance(named, type) and issubclass(named, transformers.PreTrainedModel):
            return named
    return transformers.AutoModelForCausalLM


def _reachable(name: str, revision: str | None) -> bool:
    """Whether the hub has this model; False where only files fetched earlier can help. One question, no retries."""
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    zoo = [PREFIX + one for one in names()]
    near = get_close_matches(PREFIX + name, zoo, n=1, cutoff=0.8) or zoo[:2]
    advice = f"{HOLDS} (`save_pretrained` writes one), or a built-in model such as {' or '.join(map(repr, near))}"
    try:
        HfApi().model_info(name, revision=revision, timeout=10)
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError):
        where = "" if revision is None else f" at revision {revision!r}"
        raise ModelError(
            f"there is no folder {name!r} here and no such model{where} on the hub; give another hub id, {advice}"
        ) from None
    except HfHubHTTPError as error:
        raise ModelError(f"the hub refuses {name!r}: {' '.join(str(error).split())[:200]}") from None
    except Exception as error:  # no network: the client's transport has errors of its own
        if not isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str):
            raise ModelError(
                f"there is no folder {name!r} here, and the model hub cannot be reached ({said(error)}); give {advice}"
            ) from None
        return False
    return True


def _tokenizer(place: str, options: dict[str, Any]) -> Any:
    from transformers import AutoTokenizer

    if Path(place).is_dir() and not any((Path(place) / file).exists() for file in TOKENIZER_FILES):
        return None
    try:
        with _quiet():
            return AutoTokenizer.from_pretrained(place, **options)
    except BaseException as error:  # the tokenizers' own code panics with one that is no Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if Path(place).is_dir():
            raise ModelError(f"the tokenizer in {place} cannot be read ({said(error)})") from None
        return None


def _own_tokenizer(network: nn.Module) -> Any:
    """The tokenizer beside the files that a model in memory came from, if they are on this machine."""
    place = getattr(getattr(network, "config", None), "_name_or_path", "")
    found = _folder_of(place) if place and isinstance(place, str) else None
    if found is None:
        return None
    try:
        return _tokenizer(found, {"trust_remote_code": False, "local_files_only": True})
    except ModelError:
        return None


def _folder_of(place: str) -> str | None:
    """A folder as it is, or where this machine keeps what came from a hub id; the hub is not asked."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if Path(place).is_dir():
        return place
    try:
        kept = [try_to_load_from_cache(place, file) for file in TOKENIZER_FILES]
    except HFValidationError:
        return None
    return next((str(Path(file).parent) for file in kept if isinstance(file, str)), None)


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


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's progress bars and remarks: what matters becomes an error here."""
    from transformers.utils import logging as library

    bars, level = library.is_progress_bar_enabled(), library.get_verbosity()
    library.disable_progress_bar()
    library.set_verbosity(logging.CRITICAL)  # it prints whole configurations as errors
    try:
        yield
    finally:
        library.set_verbosity(level)
        if bars:
            library.enable_progress_bar()
