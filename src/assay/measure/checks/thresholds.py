"""Every threshold of every check, in one table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Thresholds:
    """When each check fires."""

    ablation_range: float = 0.1  # of R_D across ablations
    cancellation: float = 0.05  # |R_L − R_D|
    vacuous_epsilon: float = 1e-2  # nats of KL(explained run || rival or control)
    vacuous_share: float = 0.95  # of tokens
    separating: float = 0.05  # of swaps after which a coarser claim predicts another answer
    self_match: float = 0.2  # of donors
    matters: float = 0.01  # of KL(all parts || none of them)
    matters_nats: float = 1e-4  # nats a token: a part that moves the run by less matters nowhere, whatever its share
    merge_cost: float = 0.01  # of the floor's KL
    tiny_scope: float = 0.02  # of the loss gap from bigram to model
    off_manifold: float = 0.8  # held-out AUROC
    over_recovery: float = 1.0  # lower end of R_L
    shared_13grams: float = 0.01  # of the distinct scored 13-grams; any shared document fires too
    ngram_tokens: float = 20.0  # reference tokens a vocabulary entry
    clusters: float = 30.0  # effective ones: works, as if all had the same number of tokens


THRESHOLDS = Thresholds()
