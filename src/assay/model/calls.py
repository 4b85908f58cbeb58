"""What a network calls on an example: every call of a submodule is a place of its own (`act#1`, `act#2`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)  # never called, so never seen
MARK = "#"


@dataclass(frozen=True)
class CallPlace:
    """One call of a submodule.

    Attributes:
        name: the submodule's own name where it is called once, else with the call's number: `act#2`.
        module, number: which submodule, and which of its calls (from 1).
        within: places whose calls this call happens in.
        shape: of its value for one example; None where there is none: no tensor of fractional numbers, or one without
            an axis of examples (a table of positions).
        fault: why its value cannot be replaced for each example.
    """

    name: str
    module: str
    number: int = 1
    within: tuple[str, ...] = ()
    shape: tuple[int, ...] | None = ()
    fault: str | None = None


@dataclass
class _Call:
    module: str
    number: int
    within: tuple[tuple[str, int], ...]
    value: tuple[int, ...] | None = None


def submodules(network: nn.Module) -> dict[str, nn.Module]:
    """Submodules that can be called, by name, in the order of definition (one that has two names by its first)."""
    return {name: m for name, m in network.named_modules() if name and not isinstance(m, CONTAINERS)}


def split(name: str) -> tuple[str, int | None]:
    """A place's name as submodule and call; None where the name says no call."""
    module, mark, number = name.partition(MARK)
    return module, int(number) if mark else None


def uncalled(network: nn.Module) -> tuple[CallPlace, ...]:
    """Places as far as they are known before any example was seen: every submodule, called once within its parents."""
    names = list(submodules(network))
    return tuple(CallPlace(n, n, within=tuple(o for o in names if n.startswith(f"{o}."))) for n in names)


def observe(
    network: nn.Module, run: Callable[[int], Any], value_of: Callable[[Any], Tensor | None]
) -> tuple[CallPlace, ...]:
    """Every call of a submodule on one example, in the order in which they end.

    Args:
        run: the forward pass of an example, given so many times over.
        value_of: the tensor of a submodule's output that is seen and replaced.
    """
    one, two = (list(_calls(network, lambda times=times: run(times), value_of)) for times in (1, 2))
    often, again = (Counter(call.module for call in calls) for calls in (one, two))
    other = {(call.module, call.number): call.value for call in two}

    def name(module: str, number: int) -> str:
        return module if often[module] == 1 else f"{module}{MARK}{number}"

    places = []
    for call in one:
        shape, fault = call.value, None if call.value is not None else "its value is no tensor of fractional numbers"
        if often[call.module] != again[call.module]:
            fault = (
                f"it is called {often[call.module]} times for one example and {again[call.module]} times for two, so a "
                "call is no place of its own"
            )
        elif shape is not None:
            pair = other[call.module, call.number]
            if pair == shape:
                shape, fault = None, "its value has no axis of examples"
            elif not shape or shape[0] != 1 or pair != (2, *shape[1:]):
                fault = (
                    f"its value has the shape {list(shape)} for one example and {list(pair or ())} for two, and its "
                    "first axis must be the examples"
                )
            else:
                shape = shape[1:]
        within = tuple(name(*outer) for outer in call.within)
        places.append(CallPlace(name(call.module, call.number), call.module, call.number, within, shape, fault))
    return tuple(places)


def _calls(network: nn.Module, run: Callable[[], Any], value_of: Callable[[Any], Tensor | None]) -> Iterator[_Call]:
    found: list[_Call] = []
    busy: list[_Call] = []
    count: Counter[str] = Counter()

    def entered(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any) -> None:
            count[name] += 1
            busy.append(_Call(name, count[name], tuple((call.module, call.number) for call in busy)))

        return hook

    def left(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            while busy and busy[-1].module != name:  # the network caught an exception of these
                busy.pop()
            call = busy.pop()
            value = value_of(output)
            call.value = tuple(value.shape) if value is not None and value.is_floating_point() else None
            found.append(call)

        return hook

    with ExitStack() as stack, torch.no_grad():
        for name, module in submodules(network).items():
            stack.callback(module.register_forward_pre_hook(entered(name)).remove)
            stack.callback(module.register_forward_hook(left(name)).remove)
        run()
    yield from found


def leaves(places: Mapping[str, CallPlace]) -> list[CallPlace]:
    """Those of the places in whose calls none of the others happens."""
    outer = {name for place in places.values() for name in place.within}
    return [place for place in places.values() if place.name not in outer]
