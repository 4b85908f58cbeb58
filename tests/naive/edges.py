"""One circuit on the transformers library's own model: node after node, each from a mix of its own, nothing shared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from tests.naive.hooks import _freeze, _last_norm, _layers, _modules

Share = bool | float | Tensor  # of the writer's own value; a tensor has one for each position


def nodes(network: Any) -> list[tuple[str, list[str], list[str]]]:
    """(node, its readers, the writers that they may read), in the order of the data flow; the last one is `logits`."""
    heads = network.config.num_attention_heads
    groups = getattr(network.config, "num_key_value_heads", heads)
    out, before = [], ["input"]
    for layer, block in enumerate(_layers(network)):
        names = []
        for head in range(heads):
            owner = f"h{head}" if groups == heads else f"kv{head // (heads // groups)}"
            readers = [f"a{layer}.h{head}<q>", f"a{layer}.{owner}<k>", f"a{layer}.{owner}<v>"]
            names.append(f"a{layer}.h{head}")
            out.append((names[-1], readers, before))
        if any(bool(p.any()) for p in _modules(block)[2].parameters()):  # else there is no MLP
            beside = getattr(network.config, "use_parallel_residual", False)
            out.append((f"m{layer}", [f"m{layer}"], before if beside else before + names))
            names.append(f"m{layer}")
        before = before + names
    return [*out, ("logits", ["logits"], before)]


def edges(network: Any) -> list[str]:
    """Every edge's name, once."""
    return list(
        dict.fromkeys(f"{w}->{reader}" for _, readers, writers in nodes(network) for reader in readers for w in writers)
    )


def run(
    network: Any,
    tokens: Tensor,
    live: Mapping[str, Share],
    fills: Mapping[str, Tensor],
    *,
    frozen: bool = False,
    given: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
) -> Tensor:
    """Logits [rows, pos, vocab] when each reader reads `share` of each writer's own value and the rest of its fill.

    Args:
        live: edge -> share; fills: writer -> z of a head, output of an MLP or the embeddings, [rows, pos, width].
        frozen: every norm divides by its scale of the unedited run.
        given: node -> what it gives in place of its own value: of a head's values v its z, of an MLP's output another.
    """
    with ExitStack() as stack, torch.no_grad():
        if frozen:
            _freeze(network, tokens, stack)
        embeddings, calls = _seen(network, tokens)
        own = {"input": embeddings}
        fill = {"input": fills["input"].to(embeddings).expand_as(embeddings)}

        def stream(reader: str, writers: list[str], layer: int) -> Tensor:
            total = torch.zeros_like(embeddings)
            for block in _layers(network)[:layer]:
                bias = getattr(_modules(block)[0], "bias", None)
                total = total + (0 if bias is None else bias)
            for writer in writers:
                share = torch.as_tensor(live[f"{writer}->{reader}"]).to(total).reshape(-1, 1)
                total = total + share * own[writer] + (1 - share) * fill[writer]
            return total

        for node, readers, writers in nodes(network)[:-1]:
            layer = int(node[1:].split(".")[0])
            block = _layers(network)[layer]
            if node.startswith("m"):
                after = layer + any(w.startswith(f"a{layer}.") for w in writers)
                own[node] = _modules(block)[1](_norms(block)[1](stream(node, writers, after)))
                own[node] = given[node](own[node]) if given and node in given else own[node]
                fill[node] = fills[node].to(embeddings).expand_as(embeddings)
                continue
            head = int(node.split("h")[1])
            read = [_norms(block)[0](stream(reader, writers, layer)) for reader in readers]
            z = _head(network, block, head, read, calls[layer])
            if given and node in given:
                z = given[node](_values(network, block, head, read[2]))
            own[node] = _written(network, block, head, z)
            fill[node] = _written(network, block, head, fills[node].to(z).expand_as(z))
        _, (reader,), writers = nodes(network)[-1]
        return network.get_output_embeddings()(_last_norm(network)(stream(reader, writers, len(_layers(network)))))


def _norms(block: Any) -> tuple[nn.Module, nn.Module]:
    if hasattr(block, "ln_1"):
        return block.ln_1, block.ln_2
    return block.input_layernorm, block.post_attention_layernorm


def _attention(block: Any) -> Any:
    return next(getattr(block, name) for name in ("attn", "attention", "self_attn") if hasattr(block, name))


def _seen(network: Any, tokens: Tensor) -> tuple[Tensor, list[tuple[tuple, dict]]]:
    """The embeddings, and what each layer's attention is called with, in an unedited run."""
    calls: list[tuple[tuple, dict]] = []
    streams: list[Tensor] = []
    with ExitStack() as stack:
        first = _layers(network)[0]
        stack.callback(first.register_forward_pre_hook(lambda m, args: streams.append(args[0].clone())).remove)
        for block in _layers(network):
            handle = _attention(block).register_forward_pre_hook(
                lambda m, args, kwargs: calls.append((args, kwargs)), with_kwargs=True
            )
            stack.callback(handle.remove)
        network(tokens, use_cache=False)
    return streams[0], calls


def _head(network: Any, block: Any, head: int, read: list[Tensor], call: tuple[tuple, dict]) -> Tensor:
    """z of one head, whose queries, keys and values are made of three inputs."""
    attention, heads = _attention(block), network.config.num_attention_heads
    found: list[Tensor] = []
    with ExitStack() as stack:
        if hasattr(attention, "q_proj"):
            for name, x in zip(("q_proj", "k_proj", "v_proj"), read, strict=True):
                hook = getattr(attention, name).register_forward_pre_hook(lambda m, args, x=x: (x,))
                stack.callback(hook.remove)
        else:
            blocks = hasattr(attention, "c_attn")  # all queries, then all keys; else the three of each head together
            fused = attention.c_attn if blocks else attention.query_key_value

            def mixed(module, args, out):
                split = (3, heads, -1) if blocks else (heads, 3, -1)
                axis = -3 if blocks else -2
                new = [module.forward(x).unflatten(-1, split).select(axis, which) for which, x in enumerate(read)]
                return torch.stack(new, axis).flatten(-3)

            stack.callback(fused.register_forward_hook(mixed).remove)
        output = _modules(block)[0]
        stack.callback(output.register_forward_pre_hook(lambda m, args: found.append(args[0].clone())).remove)
        attention(*call[0], **call[1])
    return found[0].unflatten(-1, (heads, -1))[..., head, :]


def _values(network: Any, block: Any, head: int, x: Tensor) -> Tensor:
    """The values that one head makes of an input, [rows, pos, d_head]."""
    attention, heads = _attention(block), network.config.num_attention_heads
    if hasattr(attention, "v_proj"):
        groups = getattr(network.config, "num_key_value_heads", heads)
        return attention.v_proj(x).unflatten(-1, (groups, -1))[..., head // (heads // groups), :]
    if hasattr(attention, "c_attn"):
        return attention.c_attn(x).unflatten(-1, (3, heads, -1))[..., 2, head, :]
    return attention.query_key_value(x).unflatten(-1, (heads, 3, -1))[..., head, 2, :]


def _written(network: Any, block: Any, head: int, z: Tensor) -> Tensor:
    """What this head's z alone puts into the stream, through the library's output matrix, less its bias."""
    every = z.new_zeros(*z.shape[:-1], network.config.num_attention_heads, z.shape[-1])
    every[..., head, :] = z
    output = _modules(block)[0]
    return output(every.flatten(-2)) - output(torch.zeros_like(every).flatten(-2))
