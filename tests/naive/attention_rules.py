"""The attention rules of the built-in programs as plain loops."""

from __future__ import annotations


def target(rule: str, tokens: list[int], i: int, match: str = "recent", prefix: int = 1) -> dict[int, float]:
    """Key -> weight for query i; empty where the rule says nothing."""
    if rule == "previous_token":
        return {i - 1: 1.0} if i else {}
    if rule == "copy":
        return {i: 1.0}
    if rule == "first_token":
        return {0: 1.0}
    earlier = [j for j in range(i) if tokens[j] == tokens[i]]
    if not earlier:
        return {}
    if rule == "duplicate_token":
        return {earlier[-1]: 1.0}
    if match == "all":
        return {j + 1: 1 / len(earlier) for j in earlier}
    if match == "recent":
        return {earlier[-1] + 1: 1.0}

    def common(j: int) -> int:
        length = 0
        while length < prefix and j - length >= 0 and tokens[j - length] == tokens[i - length]:
            length += 1
        return length

    best = max(common(j) for j in earlier)
    return {[j for j in earlier if common(j) == best][-1] + 1: 1.0}
