"""Any `nn.Module`: its named submodules' outputs can be seen and replaced, by hooks that live for one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from assay.errors import ComponentError, ModelError, nearest
from assay.model.fingerprint import fingerprint
from assay.names import Site, parse_site

CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)  # never called, so never seen


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
        network: the user's module; name: what it was loaded as; tokenizer: where it came with one.
        noise: nats; 0: nothing is recomputed on another path.
    """

    network: nn.Module
    name: str
    tokenizer: Any = None
    family: str = "module"
    bos: int | None = None
    noise: float = 0.0

    def __call__(self, inputs: Any) -> Float[Tensor, "..."]:
        return self.forward(inputs)

    def forward(
        self, inputs: Any, taps: Mapping[tuple[str, int], Callable[[Tensor], Any]] | None = None
    ) -> Float[Tensor, "..."]:
        """The network's output in evaluation mode (of a structured output: `logits`, else the first tensor).

        Args:
            inputs: a tensor, a tuple of positional arguments or a mapping of keyword arguments.
            taps: (submodule's name, 0) -> function of its output, which may give a replacement. A submodule that is
                called several times is seen each time. Differentiable in what taps give, not in the weights.

        Raises:
            ModelError: for a name that is no submodule, and for a submodule that the forward pass did not call.
        """
        fired: set[str] = set()
        busy: list[str] = []
        with ExitStack() as stack:
            for (name, _), tap in (taps or {}).items():
                handle = self._submodule(name).register_forward_hook(_hook(name, tap, fired, busy))
                stack.callback(handle.remove)
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
        if site.module not in self.components:
            raise ComponentError(
                f"{site.module!r} is no submodule of {self.name}" + nearest(site.module, self.components)
            )
        return site

    def _submodule(self, name: str) -> nn.Module:
        if name not in self.components:
            raise ModelError(f"{name!r} is no submodule of {self.name}" + nearest(name, self.components))
        return self.network.get_submodule(name)

    @cached_property
    def components(self) -> tuple[str, ...]:
        """Names of the submodules that can be called, in the order of definition."""
        return tuple(name for name, m in self.network.named_modules() if name and not isinstance(m, CONTAINERS))

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

    @cached_property
    def parameters(self) -> int:
        """How many parameters the network has (shared ones once)."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the network's structure and its weights' bytes."""
        return fingerprint(self.network)


def _hook(name: str, tap: Callable[[Tensor], Any], fired: set[str], busy: list[str]) -> Callable[..., Any]:
    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        if busy:  # a tap runs the network itself, for a donor's value: that run is not this one
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


def _tensor(output: Any) -> Tensor:
    if isinstance(output, Tensor):
        return output
    if isinstance(getattr(output, "logits", None), Tensor):
        return output.logits
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, (tuple, list)) else ()
    for part in parts:
        if isinstance(part, Tensor):
            return part
    raise ModelError(f"an output of type {type(output).__name__} holds no tensor")
