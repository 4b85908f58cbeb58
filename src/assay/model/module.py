"""Any `nn.Module`: its named submodules' outputs can be seen and replaced, by hooks that live for one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, overload

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from assay.errors import ComponentError, ModelError, UserError, nearest
from assay.model import meter
from assay.model.calls import MARK, CallPlace, leaves, observe, split, submodules, uncalled
from assay.model.fingerprint import fingerprint
from assay.names import Site, parse_site


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; every submodule's own flag is put back, also after an exception."""
    training = [module for module in network.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


@dataclass(frozen=True, eq=False)
class ModuleModel:
    """A network of no known family, explained at its named submodules. It is never changed.

    Attributes:
        network: the user's module; name: what it was loaded as; tokenizer: its own, or None where it came with none.
        noise: nats; 0: nothing is recomputed on another path.
        seen: every call of a submodule on an example (see `on`); None: no example was run yet.
    """

    network: nn.Module
    name: str
    tokenizer: Any = None
    family: str = "module"
    bos: int | None = None
    noise: float = 0.0
    seen: tuple[CallPlace, ...] | None = None

    def __repr__(self) -> str:
        what = f"{type(self.network).__name__} with {len(self.components):,} named submodules"
        return f"<ModuleModel {self.name}: {what}, {str(self.dtype).removeprefix('torch.')} on {self.device}>"

    def on(self, inputs: Tensor) -> ModuleModel:
        """The same model, which knows what is called on these inputs' first example and how often.

        Raises:
            ModelError: where the network does not take the example, and where it makes another thing of it each time.
        """

        def run(times: int) -> Tensor:
            with evaluating(self.network), torch.no_grad():
                return _tensor(self._run(torch.cat([inputs[:1]] * times)))

        try:
            first, again = run(1), run(1)
        except UserError:
            raise
        except Exception as problem:
            why = " ".join(str(problem).split()) or type(problem).__name__
            shape = list(inputs.shape[1:])
            raise ModelError(f"{self.name} does not take these inputs, of shape {shape} an example: {why}") from problem
        if not torch.allclose(first, again, rtol=1e-3, atol=1e-4, equal_nan=True):
            raise ModelError(f"{self.name} draws at random in evaluation mode: of one example it gives two outputs")
        out = replace(self, seen=observe(self.network, run, lambda output: _tensor(output, missing=True)))
        if "fingerprint" in self.__dict__:
            out.__dict__["fingerprint"] = self.fingerprint  # the same weights; hashing them takes a while
        return out

    def __call__(self, inputs: Any) -> Float[Tensor, "..."]:
        return self.forward(inputs)

    def forward(
        self, inputs: Any, taps: Mapping[tuple[str, int], Callable[[Tensor], Any]] | None = None
    ) -> Float[Tensor, "..."]:
        """The network's output in evaluation mode (of a structured output: `logits`, else the first tensor).

        Args:
            inputs: a tensor, a tuple of positional arguments or a mapping of keyword arguments.
            taps: (name, 0) -> function of a submodule's output, which may give a replacement. Of a submodule that is
                called several times the name says which call: `act#2`. Differentiable in what taps give, not in the
                weights.

        Raises:
            ModelError: for a name that is no submodule, for a submodule that the forward pass did not call, and for one
                that it called more often than the name allows for.
        """
        if isinstance(inputs, Tensor):
            meter.passed(len(inputs), bool(taps) and torch.is_grad_enabled())
        fired: set[str] = set()
        busy: list[str] = []
        with ExitStack() as stack:
            for (name, _), tap in (taps or {}).items():
                known = None if self.seen is None else len(self.calls(split(name)[0]))
                hook = _hook(name, tap, fired, busy, self._most(name), known)
                stack.callback(self._submodule(name).register_forward_hook(hook).remove)
            stack.enter_context(evaluating(self.network))
            output = self._run(inputs)
        silent = [name for name, _ in taps or {} if name not in fired]
        if silent:
            raise ModelError(
                f"the submodule {silent[0]!r} of {self.name} was not called in the forward pass: it has no value"
            )
        return _tensor(output)

    def _run(self, inputs: Any) -> Any:
        args: tuple[Any, ...] = ()
        kwargs: dict[str, Any] = {}
        if isinstance(inputs, Mapping):
            kwargs = dict(inputs)
        else:
            args = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
        if not torch.is_grad_enabled() or not any(p.requires_grad for p in self.network.parameters()):
            return self.network(*args, **kwargs)
        # the same weights without their gradients, so that a backward pass leaves the user's `.grad` alone
        weights = {name: parameter.detach() for name, parameter in self.network.named_parameters()}
        return functional_call(self.network, weights, args, kwargs)

    def site(self, name: str) -> Site:
        """Parses and checks a name such as `conv1` or `conv1[3]` (index 3 of the first axis after the batch).

        Raises:
            ComponentError: with the nearest names, when there is no such submodule.
        """
        site = parse_site(name, modules=True)
        if site.kind != "module":  # a submodule may be called `m1` or `input`
            base, _, where = name.partition("@")
            site = Site("module", module=base, position=parse_site(f"input@{where}").position if where else None)
        module, call = split(site.module or "")
        if module not in self.submodules:
            raise ComponentError(f"{module!r} is no submodule of {self.name}" + nearest(module, self.components))
        shape = self.places[site.module].shape if self.seen is not None and site.module in self.places else None
        if site.index is not None and shape and site.index >= shape[0]:
            raise ComponentError(f"{name!r}: {site.module!r} gives {shape[0]} values, 0 to {shape[0] - 1}")
        if call is None or self.seen is None:
            return site
        calls = self.calls(module)
        if not 1 <= call <= len(calls):
            raise ComponentError(
                f"{site.module!r}: {module!r} is called {len(calls)} time{'s' * (len(calls) != 1)}"
                + nearest(site.module, calls)
            )
        return replace(site, module=calls[call - 1])

    def calls(self, module: str) -> list[str]:
        """The places of a submodule: one for each of its calls, in order."""
        return [p.name for p in sorted(self.places.values(), key=lambda p: p.number) if p.module == module]

    @cached_property
    def submodules(self) -> dict[str, nn.Module]:
        """Every submodule that can be called, by name, in the order of definition."""
        return submodules(self.network)

    def _submodule(self, name: str) -> nn.Module:
        module, _ = split(name)
        if module not in self.submodules:
            raise ModelError(f"{module!r} is no submodule of {self.name}" + nearest(module, self.components))
        place = self.places.get(name)
        if place is not None and place.fault:
            raise ModelError(f"the submodule {name!r} of {self.name} cannot be replaced: {place.fault}")
        return self.submodules[module]

    def _most(self, name: str) -> int | None:
        """How often a place's submodule may be called; None: as often as it likes, as no example was seen."""
        module, call = split(name)
        if call is None:
            return 1
        return None if self.seen is None else len(self.calls(module))

    @cached_property
    def places(self) -> dict[str, CallPlace]:
        """Every place by its name, in the order of definition: as it is called on an example, where one was seen."""
        if self.seen is None:
            return {place.name: place for place in uncalled(self.network)}
        order = {name: i for i, name in enumerate(self.submodules)}
        return {place.name: place for place in sorted(self.seen, key=lambda p: (order[p.module], p.number))}

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """Places that `Keep` ablates: the innermost ones with parameters (without any in the network: the innermost).

        What has no parameters (an activation, a dropout) says nothing of its own: it is a part only where it is named.
        """
        usable = {name: place for name, place in self.places.items() if place.shape is not None}
        weighted = {name: place for name, place in usable.items() if self.weighs(name)}
        return tuple(place.name for place in leaves(weighted or usable))

    def weighs(self, name: str) -> bool:
        """Whether a place's submodule has parameters."""
        return any(True for _ in self.submodules[split(name)[0]].parameters())

    @cached_property
    def components(self) -> tuple[str, ...]:
        """Names of the submodules that can be called, in the order of definition; of their calls, where one has more
        than one and an example was seen."""
        return tuple(self.places)

    @property
    def device(self) -> torch.device:
        for tensor in (*self.network.parameters(), *self.network.buffers()):
            return tensor.device
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        for tensor in (*self.network.parameters(), *self.network.buffers()):
            if tensor.is_floating_point():
                return tensor.dtype
        return torch.float32

    @property
    def scale(self) -> float:
        """As of a transformer."""
        return 1.0

    @cached_property
    def parameters(self) -> int:
        """How many parameters the network has (shared ones once)."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the network's structure and its weights' bytes."""
        return fingerprint(self.network)


def _hook(
    name: str, tap: Callable[[Tensor], Any], fired: set[str], busy: list[str], most: int | None, known: int | None
) -> Callable[..., Any]:
    wanted, count = split(name)[1] or 1, 0

    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        nonlocal count
        if busy:  # a tap runs the network itself, for a donor's value: that run is not this one
            return None
        count += 1
        if most is not None and count > most:
            base = split(name)[0]
            raise ModelError(
                f"the submodule {base!r} is called {count} times or more on these inputs, where {most} was expected, "
                + (
                    "so that how often depends on the input and a call is no one part; name another submodule"
                    if known is not None and count > known
                    else "and each call is a place of its own; "
                    f"name one, such as '{base}{MARK}{count}', or another submodule"
                )
            )
        if count != wanted:
            return None
        fired.add(name)
        busy.append(name)
        try:
            new = tap(_tensor(output))
        finally:
            busy.pop()
        if new is None:
            return None
        if isinstance(output, (tuple, list)):
            where = next(i for i, part in enumerate(output) if isinstance(part, Tensor))
            return (
                type(output)([*output[:where], new, *output[where + 1 :]])
                if isinstance(output, list)
                else _put(output, where, new)
            )
        if isinstance(output, Tensor):
            return new
        raise ModelError(
            f"the output of {name!r} is a {type(output).__name__}; only tensors, tuples and lists can be replaced"
        )

    return hook


def _put(output: Sequence[Any], where: int, new: Tensor) -> tuple[Any, ...]:
    parts = (*output[:where], new, *output[where + 1 :])
    return type(output)(*parts) if hasattr(output, "_fields") else parts  # type: ignore[return-value]


@overload
def _tensor(output: Any) -> Tensor: ...
@overload
def _tensor(output: Any, missing: Literal[True]) -> Tensor | None: ...
def _tensor(output: Any, missing: bool = False) -> Tensor | None:
    if isinstance(output, Tensor):
        return output
    if isinstance(getattr(output, "logits", None), Tensor):
        return output.logits
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, (tuple, list)) else ()
    for part in parts:
        if isinstance(part, Tensor):
            return part
    if missing:
        return None
    raise ModelError(f"an output of type {type(output).__name__} holds no tensor")
