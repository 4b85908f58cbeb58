"""What is trained of a sparse code, its start, and the code that it is in the end."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from assay.stats.keyed import torch_generator
from assay.train.dictionary.code import Rule, SparseCode
from assay.train.dictionary.settings import NEAR, SPARSE, CodeSettings

THRESHOLD = 0.05  # of jump ReLUs at the start, where a value's directions have variance 1


class CodeParameters(nn.Module):
    """Trained tensors of a code of scaled values, see `SparseCode`.

    Attributes:
        before: what an autoencoder takes from a value is its `decoder_bias`; of a transcoder the mean of what it reads.
        level: the least active value, averaged over steps, of architectures in which a whole batch shares its features.
    """

    mean_in: Tensor
    level: Tensor
    start: Tensor

    def __init__(
        self, settings: CodeSettings, d_in: int, d_out: int, *, transcodes: bool, skip: bool,
        mean_in: Float[Tensor, "d_in"], mean_out: Float[Tensor, "d_out"],
    ):  # fmt: skip
        super().__init__()
        self.settings, self.transcodes = settings, transcodes
        random = torch_generator(settings.seed, "dictionary")
        drawn = torch.randn(settings.width, d_out, generator=random)
        self.decoder = nn.Parameter(functional.normalize(drawn, dim=-1))
        if transcodes:
            drawn = functional.normalize(torch.randn(settings.width, d_in, generator=random), dim=-1)
        else:
            drawn = self.decoder.detach().clone()
        if settings.frozen == "encoder":  # one of its own: a random encoder beside a decoder that is learned
            drawn = functional.normalize(torch.randn(settings.width, d_in, generator=random), dim=-1)
        self.encoder = nn.Parameter(drawn)
        self.encoder_bias = nn.Parameter(torch.zeros(settings.width))
        self.decoder_bias = nn.Parameter(mean_out.clone())
        self.threshold = self.gate_scale = self.gate_bias = self.skip = None
        if settings.architecture == "jumprelu":
            self.threshold = nn.Parameter(torch.full((settings.width,), THRESHOLD))
        if settings.architecture == "gated":
            self.gate_scale = nn.Parameter(torch.zeros(settings.width))
            self.gate_bias = nn.Parameter(torch.zeros(settings.width))
        if skip:
            self.skip = nn.Parameter(torch.zeros(d_out, d_in))
        self.register_buffer("mean_in", mean_in.clone())
        self.register_buffer("level", torch.tensor(-1.0))
        self.register_buffer("start", self.decoder.detach().clone() if settings.frozen == "near" else torch.empty(0))
        self.decoder.requires_grad_(settings.frozen != "decoder")
        self.encoder.requires_grad_(settings.frozen != "encoder")

    @property
    def before(self) -> Float[Tensor, "d_in"]:
        return self.mean_in if self.transcodes else self.decoder_bias

    def trained(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    @torch.no_grad()
    def keep_norms(self) -> None:
        """Decoder rows have norm 1; those that are kept near their start come back to within its cosine."""
        if not self.decoder.requires_grad:
            return
        rows = functional.normalize(self.decoder, dim=-1)
        if self.settings.frozen == "near":
            cosine = (rows * self.start).sum(-1, keepdim=True)
            aside = functional.normalize(rows - cosine * self.start, dim=-1)
            nearest = NEAR * self.start + (1 - NEAR**2) ** 0.5 * aside
            rows = torch.where(cosine < NEAR, nearest, rows)
        self.decoder.copy_(rows)

    @torch.no_grad()
    def along_norms(self) -> None:
        """Takes from the decoder's gradient what would change its rows' norms."""
        if self.decoder.grad is not None:
            along = (self.decoder.grad * self.decoder).sum(-1, keepdim=True)
            self.decoder.grad.sub_(along * self.decoder)

    def note_level(self, least: Float[Tensor, ""]) -> None:
        """The least active value of a batch, for use where values come alone."""
        self.level.copy_(least if self.level < 0 else torch.lerp(self.level, least, 0.1))

    @torch.no_grad()
    def code(self, scale_in: float = 1.0, scale_out: float = 1.0) -> SparseCode:
        """The code of values that are not scaled: those that were trained on are `scale` times as large."""
        own = self.settings.architecture
        width, ratio = self.settings.width, scale_in / scale_out
        rules: dict[str, Rule] = {"topk": "topk", "gated": "gated", "relu": "relu"}
        threshold = None
        if own == "jumprelu":
            assert self.threshold is not None
            threshold = self.threshold.clamp(min=0)
        elif own in ("batchtopk", "matryoshka"):
            threshold = self.level.clamp(min=0).expand(width)

        def undone(value: Tensor | None) -> Tensor | None:
            return None if value is None else (value.detach() / scale_out).clone()

        bias, decoder_bias = undone(self.encoder_bias), undone(self.decoder_bias)
        assert bias is not None
        assert decoder_bias is not None
        return SparseCode(
            encoder=self.encoder.detach() * ratio,
            encoder_bias=bias,
            decoder=self.decoder.detach().clone(),
            decoder_bias=decoder_bias,
            before=(self.before.detach() / scale_in).clone(),
            rule=rules.get(own, "threshold"),
            k=self.settings.k if own == "topk" else None,
            threshold=undone(threshold),
            gate_scale=None if self.gate_scale is None else self.gate_scale.detach().clone(),
            gate_bias=undone(self.gate_bias),
            skip=None if self.skip is None else self.skip.detach() * ratio,
        )  # fmt: skip

    @property
    def selects(self) -> bool:
        """Whether so many features are active by themselves, so that no penalty is needed."""
        return self.settings.architecture in SPARSE
