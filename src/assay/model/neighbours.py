"""Models that other libraries have wrapped: TransformerLens bridges, nnsight handles and PEFT adapters are unwrapped to
the transformers model in them, or refused by name with what to give in their place. None of the libraries is needed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from assay.errors import ModelError, notice, said
from assay.model.admit import LENS_ADVICE
from assay.model.module import evaluating

TIMES = 100.0  # how far two runs of one model may differ, in roundings of the largest logit
TRIED = (2, 12)  # rows and tokens of these runs


class Unwrapped(NamedTuple):
    """The network in a wrapper, the wrapper's tokenizer, and what is added to the network's name."""

    network: nn.Module
    tokenizer: Any = None
    suffix: str = ""


def unwrapped(source: Any) -> Unwrapped | None:
    """The network in what another library has wrapped; None for what is no wrapper that is known.

    Raises:
        ModelError: for a wrapper whose network is not what it computes, or that has none.
    """
    made_by = {one.__module__.partition(".")[0] for one in type(source).__mro__}
    if "nnsight" in made_by:
        return _nnsight(source)
    if "transformer_lens" in made_by:
        return _lens(source)
    if "peft" in made_by and hasattr(source, "peft_config"):
        return _peft(source)
    if isinstance(source, nn.Module) and _traced(source):  # the network of a handle
        bare = _bare(source, {})
        return unwrapped(bare) or Unwrapped(bare)
    if isinstance(source, nn.Module):
        adapter = next(
            (name for name, part in source.named_modules() if type(part).__module__.startswith("peft.")), None
        )
        if adapter is not None:
            raise ModelError(
                f"{type(source).__name__} holds an adapter of peft at {adapter!r}; give the peft model, or the network "
                "with the adapter merged into its weights"
            )
    return None


def _nnsight(source: Any) -> Unwrapped:
    what, network = type(source).__name__, getattr(source, "_module", None)
    if not isinstance(network, nn.Module):
        raise ModelError(f"an nnsight {what} without a network in this process cannot be opened; give the network")
    if any(parameter.device.type == "meta" for parameter in network.parameters()):
        raise ModelError(f"the nnsight {what} has not loaded its weights yet; make it with dispatch=True")
    if getattr(source, "_edits", None):
        raise ModelError(
            f"the nnsight {what} has edits of its own (model.edit), which are no weights and are not run here; give it "
            "without them"
        )
    found = unwrapped(network) or Unwrapped(network)
    return found._replace(tokenizer=getattr(source, "tokenizer", None) or found.tokenizer)


def _peft(source: Any) -> Unwrapped:
    """A merged copy: the wrapped network stays as it is."""
    what, adapters = type(source).__name__, ", ".join(_active(source))
    kinds = {str(getattr(one.peft_type, "value", one.peft_type)) for one in source.peft_config.values()}
    if not hasattr(source.base_model, "merge_and_unload"):
        raise ModelError(
            f"the {what} has an adapter of the kind {', '.join(sorted(kinds))}, which cannot be merged into weights; "
            "assay explains networks whose adapter can be, such as LoRA"
        )
    try:
        network = copy.deepcopy(source).merge_and_unload()
    except Exception as error:  # of a kind of adapter, or of quantised weights
        raise ModelError(f"the adapter {adapters!r} of the {what} cannot be merged ({said(error)})") from None
    _same(
        source, lambda ids: source(input_ids=ids).logits, network, f"the {what}", "that has its adapter in its weights"
    )
    notice(f"the adapter {adapters!r} is merged into a copy of the weights, and that copy is explained")
    return Unwrapped(network, suffix=f" with the adapter {adapters}")


def _active(source: Any) -> list[str]:
    active = source.active_adapters if hasattr(source, "active_adapters") else source.active_adapter
    return [active] if isinstance(active, str) else list(active)


def _lens(source: Any) -> Unwrapped:
    """A bridge's network with its own parts where the bridge has put others; the weights are shared."""
    what, bridged = type(source).__name__, getattr(source, "__dict__", {}).get("original_model")
    if not isinstance(bridged, nn.Module) or not hasattr(bridged, "config"):
        raise ModelError(f"a {what} is TransformerLens' own network{LENS_ADVICE}")
    network = _bare(bridged, {})
    _same(source, lambda ids: source(ids, return_type="logits"), network, f"the {what}", "that has the same weights")
    return Unwrapped(network, getattr(source, "tokenizer", None))


def _bare(module: nn.Module, done: dict[int, nn.Module]) -> nn.Module:
    """A copy of a module with the same tensors, without TransformerLens' bridges and nnsight's forward functions."""
    while type(module).__module__.startswith("transformer_lens.") and hasattr(module, "original_component"):
        module = module.original_component  # type: ignore[assignment]
    if id(module) not in done:
        done[id(module)] = own = copy.copy(module)
        own.__dict__["_modules"] = {
            name: child if child is None else _bare(child, done) for name, child in module._modules.items()
        }
        if _traced(own):
            del own.__dict__["forward"]
    return done[id(module)]


def _traced(module: nn.Module) -> bool:
    """Whether nnsight has put a function of its own in the place of the module's."""
    return type(module.__dict__.get("forward")).__module__.partition(".")[0] == "nnsight"


def _same(wrapper: nn.Module, run: Callable[[Tensor], Tensor], network: nn.Module, what: str, which: str) -> None:
    """Raises `ModelError` where a wrapper's logits are not those of the network that was taken out of it."""
    first = next(network.parameters())
    vocabulary = int(network.config.vocab_size)  # type: ignore[union-attr, arg-type]
    ids = (torch.arange(TRIED[0] * TRIED[1], device=first.device) * 7919 % vocabulary).reshape(TRIED)
    try:
        with torch.no_grad(), evaluating(wrapper), evaluating(network):
            wrapped, own = run(ids), network(input_ids=ids).logits
    except Exception as error:
        raise ModelError(f"{what} cannot be run ({said(error)})") from None
    apart, allowed = float((wrapped - own).abs().max()), TIMES * torch.finfo(first.dtype).eps * float(own.abs().max())
    if not apart <= allowed:
        raise ModelError(
            f"{what} computes other logits than the transformers network {which}: they differ by {apart:.1e}, where "
            f"rounding explains {allowed:.1e}; give that network itself, if it is meant"
        )
