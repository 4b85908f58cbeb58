"""What a model's configuration says of its size, read without loading the model."""

from __future__ import annotations

from typing import Any, NamedTuple

from assay.errors import UserError, nearest
from assay.names import Site, meant
from assay.planted import worlds
from assay.store import inputs
from assay.zoo import index
from assay.zoo.recipes import RECIPES

NATIVE = ("gpt2", "llama", "mistral", "qwen2", "qwen3", "gpt_neox")  # model types whose components have names
LARGEST = 1 << 20  # bytes of a model's configuration


class KnownShape(NamedTuple):
    """What a model's configuration says of its size; None where it is silent."""

    layers: int
    heads: int
    groups: int | None
    neurons: int | None
    native: bool  # of a family with component names, so that no name is a submodule's
    mlps: bool = True  # False: no layer has an MLP

    @property
    def share(self) -> int | None:
        """How many heads share keys and values."""
        return None if not self.groups else self.heads // self.groups


def known_shape(model: str) -> KnownShape | None:
    """The shape of a planted program, or of a model whose configuration lies on this disk."""
    if worlds.is_world(model):
        known = worlds.shape(model)
        return None if known is None else KnownShape(*known, known[1], None, native=True)
    folder = index.place(model) if model.startswith(index.PREFIX) else inputs.place(model)
    try:
        config: Any = inputs.read_json(folder / "config.json", "the configuration", most=LARGEST)
        layers = config.get("num_hidden_layers", config.get("n_layer"))
        heads = config.get("num_attention_heads", config.get("n_head"))
        groups = config.get("num_key_value_heads", heads)
        neurons = config.get("intermediate_size", config.get("n_inner"))
    except (UserError, AttributeError):  # whoever loads it will say what is wrong
        return None
    if not isinstance(layers, int) or not isinstance(heads, int):
        return None
    whole = (value if isinstance(value, int) and value > 1 else None for value in (groups, neurons))
    recipe = RECIPES.get(model.removeprefix(index.PREFIX)) if model.startswith(index.PREFIX) else None
    attention_only = recipe is not None and recipe.attention_only
    return KnownShape(layers, heads, *whole, native=config.get("model_type") in NATIVE, mlps=not attention_only)


def out_of_range(site: Site, shape: KnownShape) -> str | None:
    """One clause on a layer, head, group or neuron that a model of this shape does not have, or None."""
    if site.kind == "module" and shape.native:
        return "its components are named like 'a1.h3', 'm2' or 'm2.n137'" + _nearest_site(str(site), shape)
    if site.kind == "stream":
        return None if (site.layer or 0) <= shape.layers else f"it has the streams r0 to r{shape.layers}"
    if site.layer is not None and site.layer >= shape.layers:
        return f"it has {shape.layers} layers, 0 to {shape.layers - 1}"
    if site.kind in ("mlp", "neuron", "hidden") and not shape.mlps:
        return "its layers have attention alone, and no MLP; name heads, such as a0.h0"
    if site.kind == "kv" and shape.groups == shape.heads:
        return f"its heads share no keys and values; name heads, such as a{site.layer}.h{site.index}"
    for kind, what, count in (
        *((kind, "heads", shape.heads) for kind in ("head", "pattern", "q")),
        ("kv", "key/value groups", shape.groups),
        ("neuron", "neurons", shape.neurons),
    ):
        if site.kind == kind and site.index is not None and count is not None and site.index >= count:
            return f"its layers have {count} {what}, 0 to {count - 1}"
    return None


def _nearest_site(name: str, shape: KnownShape) -> str:
    """A tail with the nearest heads and MLPs, if any is near."""
    if there := meant(name):
        return f"; did you mean {there!r}?"
    heads = [f"a{layer}.h{head}" for layer in range(shape.layers) for head in range(shape.heads)]
    tail = nearest(name, [*heads, *(f"m{layer}" for layer in range(shape.layers))])
    return tail if "did you mean" in tail else ""
