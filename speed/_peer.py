"""Runs in a peer's Python, not in ours: opens the weights and prompts of a file and does a peer's work when asked.

Arguments: library, file, threads. Each line of input is {"work": name, "given": arguments}; each line of output has
what was found and the seconds that it took. Edges are named as assay names them. Nothing here is assay's code.
"""

from __future__ import annotations

import json
import re
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

sys.path.pop(0)  # the folder of this script, whose modules are assay's

import torch
from safetensors import safe_open  # pyright: ignore[reportMissingImports]


class Given:
    """The handed model, prompts and arrays."""

    def __init__(self, file: str):
        with safe_open(file, "pt") as opened:
            self.config = json.loads(opened.metadata()["config"])
            self.values = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        clean, other = self.values["tokens"]
        self.clean, self.other, self.answers = clean[:, :-1], other[:, :-1], clean[:, 1:]

    def library_model(self) -> Any:
        """The model of `transformers`."""
        from transformers import AutoConfig, AutoModelForCausalLM

        config = {k: v for k, v in self.config.items() if k not in ("model_type", "dtype", "torch_dtype")}
        model: Any = AutoModelForCausalLM.from_config(AutoConfig.for_model(self.config["model_type"], **config))
        state = {name[8:]: value for name, value in self.values.items() if name.startswith("weights.")}
        model.load_state_dict(state, strict=False)
        model.tie_weights()
        return model.float().eval()

    def lens(self) -> Any:
        """TransformerLens's model of any version, with weights as they are."""
        import transformer_lens  # pyright: ignore[reportMissingImports]

        if int(version("transformer-lens").split(".")[0]) < 4:
            return self.hooked()
        from tokenizers import Tokenizer, models  # pyright: ignore[reportMissingImports]
        from transformers import PreTrainedTokenizerFast

        plain = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
        with tempfile.TemporaryDirectory() as folder:  # it opens its tokenizer from a folder
            PreTrainedTokenizerFast(tokenizer_object=plain, bos_token="a", eos_token="a").save_pretrained(folder)
            tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
            bridge = transformer_lens.TransformerBridge.boot_transformers(
                self.config["model_type"], hf_model=self.library_model(), tokenizer=tokenizer, device="cpu"
            )
        return bridge.eval()

    def hooked(self, **options: bool) -> Any:
        """TransformerLens's own model, before version 4."""
        from transformer_lens import HookedTransformer, HookedTransformerConfig  # pyright: ignore
        from transformer_lens.pretrained import weight_conversions  # pyright: ignore

        c = self.config
        if c["model_type"] == "gpt2":
            config = HookedTransformerConfig(
                n_layers=c["n_layer"], d_model=c["n_embd"], n_ctx=c["n_positions"], n_heads=c["n_head"],
                d_head=c["n_embd"] // c["n_head"], d_mlp=4 * c["n_embd"], d_vocab=c["vocab_size"], act_fn="gelu_new",
                normalization_type="LN", eps=c["layer_norm_epsilon"], seed=0, device="cpu",
            )  # fmt: skip
            convert = weight_conversions.convert_gpt2_weights
        else:
            config = HookedTransformerConfig(
                n_layers=c["num_hidden_layers"], d_model=c["hidden_size"], n_ctx=c["max_position_embeddings"],
                n_heads=c["num_attention_heads"], d_head=c["head_dim"], d_mlp=c["intermediate_size"],
                d_vocab=c["vocab_size"], act_fn="silu", normalization_type="RMS", eps=c["rms_norm_eps"], seed=0,
                positional_embedding_type="rotary", rotary_adjacent_pairs=False, rotary_dim=c["head_dim"],
                rotary_base=int(c["rope_parameters"]["rope_theta"]), final_rms=True, gated_mlp=True, device="cpu",
                original_architecture="LlamaForCausalLM",
            )  # fmt: skip
            convert = weight_conversions.convert_llama_weights
        for name, value in options.items():
            setattr(config, name, value)
        model: Any = HookedTransformer(config)
        model.load_and_process_state_dict(
            convert(self.library_model(), config),
            fold_ln=False, center_writing_weights=False, center_unembed=False, fold_value_biases=False,
        )  # fmt: skip
        return model.eval()


class TransformerLens:
    """Patches heads by position with the library's own sweep, as its users do."""

    edges: tuple[str, ...] = ()

    def __init__(self, given: Given):
        from transformer_lens import patching  # pyright: ignore

        self.given, self.patching, self.model = given, patching, given.lens()
        with torch.no_grad():
            self.clean = self.model(given.clean).log_softmax(-1)

    def sweep(self, patches: list[tuple[int, int, int]], everywhere: bool) -> list[float]:
        """How much the loss rises by each patch (layer, head, column)."""
        import pandas as pd  # pyright: ignore[reportMissingImports]

        read = slice(None) if everywhere else slice(-1, None)
        target = self.given.answers[:, read, None]

        def metric(logits: Any) -> Any:
            found = logits[:, read].log_softmax(-1)
            return (self.clean[:, read] - found).gather(-1, target).sum()

        with torch.no_grad():
            _, donors = self.model.run_with_cache(self.given.other)
            return self.patching.generic_activation_patch(
                model=self.model,
                corrupted_tokens=self.given.clean,
                clean_cache=donors,
                patching_metric=metric,
                patch_setter=self.patching.layer_pos_head_vector_patch_setter,
                activation_name="z",
                index_df=pd.DataFrame([(a, c, b) for a, b, c in patches], columns=["layer", "pos", "head_index"]),
            ).tolist()


class Nnsight:
    """The same patches, one trace each."""

    edges: tuple[str, ...] = ()

    def __init__(self, given: Given):
        from nnsight import NNsight  # pyright: ignore[reportMissingImports]

        self.given, library = given, given.library_model()
        self.llama = given.config["model_type"] == "llama"
        self.model: Any = NNsight(library)
        self.width = library.config.hidden_size // library.config.num_attention_heads
        with torch.no_grad():
            self.clean = library(given.clean).logits.log_softmax(-1)

    def _out(self, layer: int) -> Any:
        return (
            self.model.model.layers[layer].self_attn.o_proj
            if self.llama
            else self.model.transformer.h[layer].attn.c_proj
        )

    def sweep(self, patches: list[tuple[int, int, int]], everywhere: bool) -> list[float]:
        """How much the loss rises by each patch (layer, head, column)."""
        read = slice(None) if everywhere else slice(-1, None)
        target, out = self.given.answers[:, read, None], []
        with torch.no_grad():
            donors = {}
            for layer in sorted({patch[0] for patch in patches}):
                with self.model.trace(self.given.other):
                    donor = self._out(layer).input.save()
                donors[layer] = donor
            for layer, head, column in patches:
                part = slice(head * self.width, (head + 1) * self.width)
                with self.model.trace(self.given.clean):
                    self._out(layer).input[:, column, part] = donors[layer][:, column, part]
                    logits = self.model.output.logits[:, read].save()
                out.append(float((self.clean[:, read] - logits.log_softmax(-1)).gather(-1, target).sum()))
        return out


class AutoCircuit:
    """Its edges are made once; answers are about edges by assay's names."""

    def __init__(self, given: Given):
        from auto_circuit.data import PromptDataLoader, PromptDataset  # pyright: ignore
        from auto_circuit.utils.graph_utils import patchable_model  # pyright: ignore

        options = ("use_attn_result", "use_attn_in", "use_split_qkv_input", "use_hook_mlp_in")
        hooked = given.hooked(**dict.fromkeys(options, True))
        self.given = given
        self.model = patchable_model(hooked, factorized=True, slice_output="last_seq", separate_qkv=True)
        answers = list(given.answers[:, -1:])
        data = PromptDataset(given.clean, given.other, answers, answers)
        self.loader = PromptDataLoader(
            data, seq_len=given.clean.shape[1], diverge_idx=0, batch_size=len(given.clean), shuffle=False
        )
        self.by_name = {self._name(edge): edge for edge in self.model.edges}
        self.every = set(self.model.edges)
        self.edges = tuple(self.by_name)

    def _name(self, edge: Any) -> str:
        def plain(name: str) -> str:
            if name in ("Resid Start", "Resid End"):
                return "input" if name == "Resid Start" else "logits"
            mlp, head = re.fullmatch(r"MLP (\d+)", name), re.fullmatch(r"A(\d+)\.(\d+)(?:\.([QKV]))?", name)
            if mlp:
                return f"m{mlp[1]}"
            assert head, name
            return f"a{head[1]}.h{head[2]}" + (f"<{head[3].lower()}>" if head[3] else "")

        return f"{plain(edge.src.name)}->{plain(edge.dest.name)}"

    def _scores(self, values: dict[str, float]) -> dict[str, Any]:
        """Numbers of edges in the form that the library takes."""
        out: dict[str, Any] = {}
        for name, edge in self.by_name.items():
            mask = edge.patch_mask(self.model)
            out.setdefault(edge.dest.module_name, torch.zeros_like(mask))[edge.patch_idx] = values[name]
        return out

    def _named(self, scores: dict[str, Any]) -> dict[str, float]:
        return {name: float(edge.prune_score(scores)) for name, edge in self.by_name.items()}

    def logits(self) -> list[list[float]]:
        """The whole model's last logits, to see that it is the same model."""
        with torch.no_grad():
            return self.model(self.given.clean)[:, -1].tolist()

    def acdc(self, tau: float, order: list[str]) -> Callable[[], list[str]]:
        """Edges that are kept of those that are given; the library tries those into one layer in this order."""
        from auto_circuit.prune_algos.ACDC import acdc_prune_scores  # pyright: ignore

        self.model.edges = [self.by_name[name] for name in order]
        scores = acdc_prune_scores(self.model, self.loader, None, tao_exps=[0], tao_bases=[tau])
        self.model.edges = self.every
        return lambda: [name for name in order if float(self.by_name[name].prune_score(scores)) > 2 * tau]

    def frontier(self, sizes: list[int]) -> Callable[[], list[list[list[float]]]]:
        """Last logits of the best edges by `rank` (0: best), for each size."""
        from auto_circuit.prune import run_circuits  # pyright: ignore
        from auto_circuit.types import AblationType, PatchType  # pyright: ignore

        with torch.no_grad():
            found = run_circuits(
                self.model, self.loader, sizes, self.ranked, PatchType.TREE_PATCH, AblationType.RESAMPLE
            )
        return lambda: [[row.tolist() for row in self._last(found[size])] for size in sizes]

    def rank(self, order: list[str]) -> None:
        """Scores for `frontier`: edges from best to worst."""
        self.ranked = self._scores({name: float(len(order) - place) for place, name in enumerate(order)})

    @staticmethod
    def _last(outputs: dict[Any, Any]) -> Any:
        (value,) = outputs.values()
        return value[:, -1] if value.ndim == 3 else value

    def gradients(self, steps: int) -> Callable[[], dict[str, float]]:
        """Mask gradients of the answer's log-probability; steps 0: at the model itself."""
        from auto_circuit.prune_algos.mask_gradient import mask_gradient_prune_scores  # pyright: ignore

        where: dict[str, Any] = {"integrated_grad_samples": steps} if steps else {"mask_val": 0.0}
        scores = mask_gradient_prune_scores(
            self.model, self.loader, None, grad_function="logprob", answer_function="avg_val", **where
        )
        return lambda: self._named(scores)


class Pyvene:
    """Interchange interventions, as its tutorials make them: an intervenable model a head, one call for all pairs."""

    edges: tuple[str, ...] = ()

    def __init__(self, given: Given):
        self.given, self.model = given, given.library_model()

    def interchange(self, heads: list[tuple[int, int]]) -> Callable[[], list[list[list[float]]]]:
        """The first 50 logits at the end of each pair, for each head that takes its value from the other prompt."""
        import pyvene  # pyright: ignore[reportMissingImports]

        pairs, columns = self.given.clean.shape
        out = []
        for layer, head in heads:
            config = pyvene.IntervenableConfig(
                [
                    {
                        "layer": layer,
                        "component": "head_attention_value_output",
                        "unit": "h.pos",
                        "max_number_of_units": 1,
                    }
                ],
                pyvene.VanillaIntervention,
            )
            model = pyvene.IntervenableModel(config, self.model)
            where = [[[[head]] * pairs, [list(range(columns))] * pairs]]
            with torch.no_grad():
                _, found = model(
                    {"input_ids": self.given.clean}, [{"input_ids": self.given.other}],
                    {"sources->base": (where, where)},
                )  # fmt: skip
            out.append(found.logits[:, -1])
        return lambda: [one[:, :50].tolist() for one in out]


LIBRARIES = {"pyvene": Pyvene, "transformer-lens": TransformerLens, "nnsight": Nnsight, "auto-circuit": AutoCircuit}


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    torch.set_num_threads(int(sys.argv[3]))
    peer: Any = LIBRARIES[sys.argv[1]](Given(sys.argv[2]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"edges": list(peer.edges), "peak": peak}), flush=True, file=answers)
    for line in sys.stdin:
        asked = json.loads(line)
        wall, cpu = time.perf_counter(), time.process_time()
        found = getattr(peer, asked["work"])(**asked["given"])
        answer: dict[str, Any] = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        answer["found"] = found() if callable(found) else found  # put into words after the clock has stopped
        answer["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps(answer), flush=True, file=answers)


if __name__ == "__main__":
    main()
