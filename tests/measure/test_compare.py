"""Runs compared on the tokens that both scored: planted differences are found, with their size, and none is made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from assay import cli
from assay.errors import RunError
from assay.measure.compare import StoredRun, compare, is_resolved, read_runs, shared_tokens
from assay.record.compared import ComparedRun
from assay.stats.estimate import Estimate
from assay.store.runs import write_run
from tests.report import records

DOCUMENTS, TOKENS = 60, 20  # twenty tokens a document, in two windows
FLOOR = 0.5


def run(
    name: str,
    share: float = 0.6,
    *,
    documents: range = range(DOCUMENTS),
    noise: float = 0.0,
    seed: int = 0,
    kind: str = "keep",
    metric: str = "loss",
    ablation: str = "mean",
    other_text: str = "",
    also: dict[str, float] | None = None,
    scope: str = "a1.h0",
) -> StoredRun:
    """A stored run whose explanation recovers `share` of its floor's KL on every token, give or take `noise`.

    Args:
        also: other ablations that it was measured under, and what it recovers there.
    """
    rng = np.random.default_rng(seed)
    document = np.repeat(list(documents), TOKENS)
    size = len(document)
    # what makes documents differ is common to all runs, as it is when they score the same texts
    hard = np.random.default_rng(7).gamma(2.0, FLOOR / 2, DOCUMENTS)[document]
    kl = hard * (1 - share) * np.exp(rng.normal(0, noise, size))
    window, position = np.divmod(np.arange(size) % TOKENS, TOKENS // 2)
    columns: dict[str, Any] = {
        "document": [f"text#{d}" for d in document],
        "source": ["en" if d % 2 else "fr" for d in document],
        "row": ((np.arange(size) // TOKENS) * 2 + window).astype(np.int32),
        "position": (position + 1).astype(np.int32),
        "token": [f"{other_text}{d}" for d in document],
        "token_id": (document * 100 + position).astype(np.int32),
        "loss_model": np.full(size, 3.0, dtype=np.float32),
        f"loss_explained_{ablation}": (3.0 + kl).astype(np.float32),
        f"kl_explained_{ablation}": kl.astype(np.float32),
    }
    if kind != "remove":
        columns[f"kl_floor_{ablation}"] = hard.astype(np.float32)
    for other, part in (also or {}).items():
        lost = hard * (1 - part)
        for column, values in (("loss_explained", 3.0 + lost), ("kl_explained", lost), ("kl_floor", hard)):
            columns[f"{column}_{other}"] = values.astype(np.float32)
    record = records.data("remove" if kind == "remove" else "program")
    record["claim"] |= {"kind": kind, "scope": [scope]}
    record["headline"] |= {"ablation": ablation, "floor": "ablated" if scope != "a1.h0" else "empty"}
    record["model"]["noise"] |= {"kl": 1e-9}
    record["task"] |= {"name": "texts", "metric": metric}
    record["arguments"]["resolved"]["seed"] = 0
    return StoredRun(name, records.measured(record), pa.table(columns))


def difference(pair: ComparedRun, figure: str) -> Estimate:
    return pair.figures[figure].difference


def test_a_run_that_is_better_by_a_known_amount_is_found_with_that_amount():
    (pair,) = compare([run("a", 0.6, noise=0.3), run("b", 0.7, noise=0.3, seed=1)])
    found = difference(pair, "recovered")
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.1 < found.high
    assert found.low > 0
    assert pair.figures["recovered"].p < 0.05
    assert is_resolved(pair.figures["recovered"])
    assert (pair.documents, pair.tokens, pair.reason) == (DOCUMENTS, DOCUMENTS * TOKENS, None)
    assert pair.sentence.startswith("b is better than a: it recovers 0.1")
    assert "60 documents that both scored" in pair.sentence


def test_the_order_of_the_runs_turns_the_sign_and_not_the_verdict():
    runs = [run("a", 0.6, noise=0.3), run("b", 0.7, noise=0.3, seed=1)]
    ahead, back = compare(runs)[0], compare(runs[::-1])[0]
    for name in ("recovered", "kl", "loss"):
        one, other = difference(ahead, name), difference(back, name)
        assert one.value == pytest.approx(-other.value)
        assert one.low == pytest.approx(-other.high, abs=5e-3)
    assert back.sentence.startswith("b is better than a")


def test_pairing_resolves_what_two_intervals_of_their_own_do_not():
    (pair,) = compare([run("a", 0.6), run("b", 0.62)])
    first, second = (getattr(pair.figures["kl"], which) for which in ("first", "second"))
    assert second.high is not None
    assert first.low is not None
    assert second.high > first.low  # the intervals overlap
    assert difference(pair, "kl").high < 0
    assert is_resolved(pair.figures["kl"])


def test_runs_without_a_difference_are_not_told_apart():
    (pair,) = compare([run("a", noise=0.4), run("b", noise=0.4, seed=1)])
    assert not is_resolved(pair.figures["recovered"])
    assert pair.figures["recovered"].p > 0.05
    assert pair.sentence.startswith("It is not shown which of b and a is better: their difference in recovered is ")


def test_a_difference_that_is_not_there_is_resolved_in_one_case_of_twenty():
    pairs = [compare([run("a", noise=1.0, seed=2 * i), run("b", noise=1.0, seed=2 * i + 1)])[0] for i in range(60)]
    assert sum(is_resolved(pair.figures["recovered"]) for pair in pairs) <= 8


def test_equal_runs_are_equal():
    (pair,) = compare([run("a"), run("b")])
    assert difference(pair, "kl").value == 0
    assert pair.figures["kl"].p == 1
    assert pair.sentence.startswith("b and a are equal in recovered, under mean, on the 1,200 tokens")


def test_only_what_both_scored_is_compared():
    a, b = run("a", 0.6, documents=range(45)), run("b", 0.7, documents=range(5, 60))
    (pair,) = compare([a, b])
    assert (pair.documents, pair.tokens) == (40, 40 * TOKENS)
    assert pair.shared == {"a": 45 * TOKENS, "b": 55 * TOKENS}
    same = compare([run("a", 0.6, documents=range(5, 45)), run("b", 0.7, documents=range(5, 45))])[0]
    assert same.figures == pair.figures


def test_the_same_place_in_another_text_is_not_the_same_token():
    (pair,) = compare([run("a"), run("b", 0.9, other_text="x")])
    assert pair.figures == {}
    assert pair.sentence == ("b is not compared with a token by token, because they scored no token in common (texts).")
    a, b = run("a"), run("b")
    tokens = b.table["token"].to_pylist()
    tokens[3] = "?"  # one token of the first window of the first document
    b = StoredRun("b", b.record, b.table.set_column(b.table.column_names.index("token"), "token", pa.array(tokens)))
    shared = shared_tokens(a, b)
    assert shared is not None
    assert len(shared.first) == DOCUMENTS * TOKENS - TOKENS // 2


def test_with_several_runs_p_is_adjusted_by_holm():
    runs = [run("a", noise=0.5), *(run(f"b{i}", 0.6 + 0.02 * i, noise=0.5, seed=i + 1) for i in range(3))]
    pairs = compare(runs)
    raw = sorted(pair.figures["recovered"].p for pair in pairs)
    adjusted = sorted(pair.figures["recovered"].p_holm for pair in pairs)
    assert adjusted[0] == pytest.approx(min(1, 3 * raw[0]))
    assert adjusted[2] >= raw[2]
    assert all("adjusted by Holm for 3 comparisons with the first run" in pair.sentence for pair in pairs)


def test_p_goes_with_the_interval_of_the_jackknife():
    (pair,) = compare([run("a", documents=range(8), noise=0.3), run("b", documents=range(8), noise=0.3, seed=1)])
    p, found = pair.figures["kl"].p, difference(pair, "kl")
    assert found.method == "jackknife_t"
    assert (p < 0.05) == (found.low > 0 or found.high < 0)
    a, b = run("a", documents=range(8)), run("b", 0.7, documents=range(8))
    kept = np.concatenate([np.arange(d * TOKENS, d * TOKENS + 2 + 2 * d) for d in range(8)])  # of unequal lengths
    (pair,) = compare([StoredRun(one.name, one.record, one.table.take(kept)) for one in (a, b)])
    for name in ("kl", "loss"):
        found = difference(pair, name)
        p, left_out = pair.figures[name].p, found.low > 0 or found.high < 0
        assert (p < 0.05) == left_out
    (alone,) = compare([run("a", documents=range(1)), run("b", 0.8, documents=range(1))])
    assert alone.figures["kl"].p is None
    assert "It is not shown which of" in alone.sentence


def test_shares_of_a_floor_that_three_documents_hold_have_a_difference_without_interval_or_p():
    document = np.repeat(range(12), TOKENS)

    def held(one: StoredRun) -> StoredRun:
        table = one.table
        new = {"source": pa.array(np.where(document < 3, "python", "en"))}
        for name in ("kl_floor_mean", "kl_explained_mean"):
            new[name] = pa.array(table[name].to_numpy() * np.where(document < 3, 20, 1).astype(np.float32))
        for name, column in new.items():
            table = table.set_column(table.column_names.index(name), name, column)
        return StoredRun(one.name, one.record, table)

    (pair,) = compare([held(run("a", documents=range(12))), held(run("b", 0.7, documents=range(12)))])
    found = difference(pair, "recovered")
    assert found.value == pytest.approx(0.1, abs=1e-3)
    assert (found.low, pair.figures["recovered"].p) == (None, None)
    assert str(found.reason).startswith("3 documents of one source, which hold")
    assert difference(pair, "kl").low is not None


def test_runs_are_compared_under_an_ablation_that_both_measured():
    """The headline of one is under mean, that of the other under zero: mean stands beside mean."""
    first, second = run("a", 0.6, also={"zero": 0.9}), run("b", 0.2, ablation="zero", also={"mean": 0.7})
    (pair,) = compare([first, second])
    assert pair.ablation == "mean"
    assert difference(pair, "recovered").value == pytest.approx(0.1, abs=1e-6)
    assert pair.sentence.startswith("b is better than a: it recovers 0.1")
    assert ", under mean, on the 1,200 tokens" in pair.sentence
    (turned,) = compare([second, first])  # the first run's headline leads
    assert turned.ablation == "zero"
    assert difference(turned, "recovered").value == pytest.approx(0.7, abs=1e-6)
    (third,) = compare([run("a"), run("b", 0.2, ablation="zero", also={"mean": 0.7})])
    assert third.ablation == "mean"


def test_runs_without_an_ablation_in_common_are_not_compared():
    (pair,) = compare([run("a", 0.6, ablation="mean"), run("b", 0.7, ablation="zero")])
    assert (pair.ablation, pair.figures) == (None, {})
    assert pair.sentence == (
        "b is not compared with a token by token, because they were measured under no ablation in common "
        "(a: mean; b: zero), and one says nothing of another."
    )


def test_each_recovered_share_is_over_its_own_floor_and_more_of_another_floor_is_not_better():
    (pair,) = compare([run("a", 0.6, scope="a1.h1"), run("b", 0.7, scope="a1.h2")])
    assert difference(pair, "recovered").value == pytest.approx(0.1, abs=1e-6)
    assert pair.sentence.startswith("b recovers 0.1")
    assert "the floors are not the same, so that is not to be better: in KL b is closer to the model" in pair.sentence
    harder = run("b", 0.6, scope="a1.h2")
    floor = pa.array(harder.table["kl_floor_mean"].to_numpy() * 1.5)
    place = harder.table.column_names.index("kl_floor_mean")
    harder = StoredRun("b", harder.record, harder.table.set_column(place, "kl_floor_mean", floor))
    (pair,) = compare([run("a", 0.6, scope="a1.h1"), harder])
    assert "b recovers 0.13" in pair.sentence
    assert pair.sentence.endswith("so that is not to be better: the KL of the explained runs is equal.")


def test_a_remove_claim_has_no_recovered_share_and_the_sentence_says_what_it_means():
    (pair,) = compare([run("a", 0.6, kind="remove"), run("b", 0.4, kind="remove")])
    assert difference(pair, "recovered").value is None
    assert "a remove claim has no recovered share" in str(difference(pair, "recovered").reason)
    assert pair.sentence.startswith("Removing the parts of b costs more than removing those of a: ")
    (mixed,) = compare([run("a"), run("b", 0.4, kind="remove")])
    assert mixed.sentence.startswith("Neither is better, since only one of them is a remove claim")


def test_losses_of_different_metrics_are_not_subtracted():
    (pair,) = compare([run("a"), run("b", 0.7, metric="accuracy")])
    assert difference(pair, "loss").reason == "the metrics differ (loss and accuracy)"
    assert difference(pair, "kl").value is not None


def test_a_floor_that_is_the_model_leaves_the_kl_to_compare():
    flat = run("b", 0.8)
    zero = pa.array(np.zeros(flat.table.num_rows, dtype=np.float32))
    flat = StoredRun("b", flat.record, flat.table.set_column(9, "kl_floor_mean", zero))
    (pair,) = compare([run("a", 0.6), flat])
    assert pair.sentence.startswith(
        "Recovered cannot be compared, because that of b is undefined: the floor cannot be distinguished from the model"
    )
    assert "b is closer to the model than a: by 0." in pair.sentence


def test_a_table_without_a_column_is_named():
    broken = run("b")
    with pytest.raises(RunError, match=r"the run 'b' has no column 'token_id' in examples\.parquet; measure again"):
        compare([run("a"), StoredRun("b", broken.record, broken.table.drop_columns(["token_id"]))])


def test_a_run_cannot_be_compared_with_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=r"the run './a/' is given twice, first as 'a'"):
        read_runs(["a", "./a/"])
    with pytest.raises(RunError, match="compare needs two runs or more, and only 'a' was given"):
        read_runs(["a"])


def test_the_command_reads_run_folders_and_writes_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    for one in (run("a", 0.6, noise=0.3), run("b", 0.7, noise=0.3, seed=1)):
        write_run(one.name, one.record, one.table, "")
    outputs = []
    for flags in ((), ("--json",)):
        with pytest.raises(SystemExit) as end:
            cli.main(["compare", "a", "b", *flags])
        assert not end.value.code
        outputs.append(capsys.readouterr().out)
    assert "In one sentence: b is better than a: it recovers 0.1" in " ".join(outputs[0].split())
    block = json.loads(outputs[1])
    assert block["runs"] == ["a", "b"]
    assert block["cautions"] == []
    (pair,) = block["pairs"]
    assert pair == compare(read_runs(["a", "b"]))[0].to_json()
