from __future__ import annotations

import dataclasses
import math
import re
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from resampled import dependent_rows, textbook
from scipy import stats

from hf_simtune.errors import RequestError
from hf_simtune.evaluation.bootstrap import draw
from hf_simtune.evaluation.compare import (
    Comparison,
    _round_figure,
    compare,
    not_worse,
    power_sentence,
    probe_answer,
    verdict_sentence,
)


def test_the_figures_are_those_of_a_plain_loop_over_the_same_draws():
    gold, base, tuned, groups = dependent_rows(5, groups=60, gain=0.1)
    result = compare(gold, base, tuned, groups, resamples=300, seed=11)
    counts = draw(np.random.default_rng(11), 60, 300)[groups]
    differences = np.subtract(textbook(counts, gold, tuned), textbook(counts, gold, base))
    observed = stats.spearmanr(gold, tuned).statistic - stats.spearmanr(gold, base).statistic
    as_far = sum(abs(value - observed) >= abs(observed) for value in differences)
    assert result.difference == pytest.approx(observed, abs=1e-12)
    assert result.low == pytest.approx(np.percentile(differences, 2.5), abs=1e-12)
    assert result.high == pytest.approx(np.percentile(differences, 97.5), abs=1e-12)
    assert result.p == (1 + as_far) / 301
    assert result.detectable == pytest.approx((1.959964 + 0.841621) * differences.std(ddof=1), rel=1e-6)
    assert (result.n, result.groups, result.resamples, result.seed) == (len(gold), 60, 300, 11)


def test_the_same_seed_gives_the_same_result_and_another_seed_another():
    data = dependent_rows(2)
    first = compare(*data, resamples=400, seed=1)
    assert compare(*data, resamples=400, seed=1) == first
    assert compare(*data, resamples=400, seed=2).low != first.low


def test_labels_may_be_anything_that_tells_groups_apart():
    gold, base, tuned, groups = dependent_rows(2)
    named = [f"frame {label:04}" for label in groups]
    assert compare(gold, base, tuned, named, resamples=200) == compare(gold, base, tuned, groups, resamples=200)


def test_verdicts_follow_the_interval_and_turn_round_with_the_models():
    gold, base, tuned, groups = dependent_rows(0, gain=0.5)
    better = compare(gold, base, tuned, groups, resamples=1000)
    worse = compare(gold, tuned, base, groups, resamples=1000)
    same = compare(*dependent_rows(0), resamples=1000)
    assert better.verdict == "improved"
    assert better.low > 0
    assert worse.verdict == "regressed"
    assert worse.high < 0
    assert (worse.low, worse.high) == pytest.approx((-better.high, -better.low), abs=1e-12)
    assert same.verdict == "no evidence"
    assert same.low <= 0 <= same.high
    assert better.p < 0.05 < same.p
    assert better.reason is worse.reason is same.reason is None


def test_rows_that_hang_together_give_a_wider_interval_than_rows_alone():
    gold, base, tuned, groups = dependent_rows(4)
    together, alone = compare(gold, base, tuned, groups, resamples=1000), compare(gold, base, tuned, resamples=1000)
    assert alone.groups == len(gold)
    assert together.high - together.low > 1.1 * (alone.high - alone.low)


def test_a_wider_confidence_gives_a_wider_interval_and_asks_for_a_larger_gain():
    data = dependent_rows(4)
    narrow, wide = (compare(*data, resamples=1000, confidence=confidence) for confidence in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high
    assert wide.detectable / narrow.detectable == pytest.approx((2.575829 + 0.841621) / (1.281552 + 0.841621), rel=1e-5)


def test_equal_models_are_told_apart_as_rarely_as_promised():
    datasets, results = 200, []
    for seed in range(datasets):
        results.append(compare(*dependent_rows(seed), resamples=500, seed=seed))
    covered = sum(result.low <= 0 <= result.high for result in results) / datasets
    improved = sum(result.verdict == "improved" for result in results) / datasets
    rejected = sum(result.p <= 0.05 for result in results) / datasets
    told = f"coverage {covered:.1%} (95 %), falsely improved {improved:.1%} (2.5 %), p <= .05 in {rejected:.1%} (5 %)"
    assert 0.91 <= covered <= 0.985, told  # 2.6 standard errors below, 2.3 above
    assert 0.0 < improved <= 0.055, told
    assert 0.01 <= rejected <= 0.09, told


def test_a_thousand_rows_and_ten_thousand_resamples_take_about_a_second():
    rng = np.random.default_rng(0)
    gold = np.round(rng.random(1379) * 5, 1)
    started = time.process_time()
    result = compare(gold, gold + rng.normal(size=1379), gold + rng.normal(size=1379), rng.integers(0, 1179, 1379))
    assert result.resamples == 10_000
    assert time.process_time() - started < 5  # 0.5 s where nothing else runs


@pytest.mark.parametrize(
    ("side", "reason"),
    [
        ("gold", "the gold scores are constant"),
        ("base", "the base model's similarities are constant"),
        ("tuned", "the tuned model's similarities are constant"),
    ],
)
def test_a_constant_side_is_no_evidence_with_its_reason_and_no_figures(side, reason):
    sides = dict(zip(("gold", "base", "tuned"), dependent_rows(0)[:3], strict=True))
    sides[side] = np.full(len(sides["gold"]), 0.3)
    result = compare(**sides)
    assert (result.verdict, result.reason) == ("no evidence", reason)
    assert (result.base is None) == (side in ("gold", "base"))
    assert (result.tuned is None) == (side in ("gold", "tuned"))
    assert result.difference is result.low is result.high is result.p is result.detectable is result.more_rows is None
    assert result.resamples == 0


def test_every_undefined_side_is_named():
    gold, base, tuned, _ = dependent_rows(0)
    tuned[:3], base[5] = np.nan, np.inf
    reason = compare(gold, base, tuned).reason
    n = f"{len(gold):,}"
    assert reason == (
        f"1 of the base model's {n} similarities is infinite; 3 of the tuned model's {n} similarities are NaN"
    )


def test_the_same_similarities_are_a_difference_of_exactly_zero():
    gold, base, _, groups = dependent_rows(0)
    result = compare(gold, base, base.copy(), groups)
    assert (result.difference, result.low, result.high, result.p) == (0, 0, 0, 1)
    assert (result.verdict, result.reason) == ("no evidence", "the two models give the same similarities")
    assert result.detectable is result.more_rows is result.detectable_with_more is None


def test_the_same_order_is_a_difference_of_exactly_zero_too():
    gold, base, _, groups = dependent_rows(0)
    result = compare(gold, base, np.exp(base), groups)
    assert (result.difference, result.low, result.high) == (0, 0, 0)
    assert result.reason == "the two models put the rows in the same order"


def test_one_swap_in_a_thousand_rows_is_no_improvement():
    gold = np.arange(1000.0)
    tuned = gold.copy()
    base = gold.copy()
    base[[400, 401]] = base[[401, 400]]
    result = compare(gold, base, tuned, resamples=1000)
    assert result.difference > 0
    assert result.low == 0.0  # resamples without one of the two rows show no difference at all
    assert result.verdict == "no evidence"


def test_nine_groups_are_too_few_for_a_verdict_and_ten_are_not():
    gold, base, tuned, _ = dependent_rows(0, gain=0.5)
    nine = compare(gold, base, tuned, np.arange(len(gold)) % 9, resamples=200)
    assert nine.verdict == "no evidence"
    assert nine.reason == f"{len(gold)} rows in 9 groups of connected rows: it takes 10 groups to resample"
    assert nine.low is nine.p is nine.detectable is None
    assert nine.difference == nine.tuned - nine.base
    assert compare(gold, base, tuned, np.arange(len(gold)) % 10, resamples=200).verdict == "improved"


def test_resamples_without_a_correlation_are_left_out_and_too_many_of_them_are_said():
    rng = np.random.default_rng(0)
    base, tuned = rng.random(40), rng.random(40)

    def with_ones(ones: int) -> Comparison:
        return compare(np.r_[np.ones(ones), np.zeros(40 - ones)], base, tuned, resamples=1000)

    few, many = with_ones(5), with_ones(1)
    assert 990 <= few.resamples < 1000  # (35/40) ** 40 = 0.5 % of the draws miss all five
    assert few.low < few.high
    assert few.reason is None
    assert many.verdict == "no evidence"
    assert many.low is many.high is many.p is None
    missing = int(re.fullmatch(r"in (\d+) of 1,000 resamples a correlation is undefined: .*", many.reason)[1])
    assert 310 < missing < 410  # (39/40) ** 40 = 36 %


def test_a_difference_that_never_varies_has_no_detectable_gain():
    gold = np.arange(50.0)
    result = compare(gold, gold, -gold, resamples=200)
    assert (result.difference, result.low, result.high, result.verdict) == (-2, -2, -2, "regressed")
    assert result.detectable is result.more_rows is None


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"base": np.arange(3.0)}, "go together row by row"),
        ({"groups": np.arange(3)}, "go together row by row"),
        ({"gold": np.ones((4, 5))}, r"gold has shape \(4, 5\)"),
        ({"groups": np.ones((4, 5))}, r"groups has shape \(4, 5\)"),
        ({"groups": [0.0] * 19 + [math.nan]}, "1 of 20 groups are NaN"),
        ({"groups": [0] * 19 + ["a", None]}, "groups cannot be compared|go together"),
        ({"tuned": ["high"] * 20}, "tuned holds something that is no number"),
        ({"tuned": 3.0}, r"tuned has shape \(\)"),
        ({"confidence": 1.0}, "confidence is 1.0"),
        ({"confidence": 0}, "confidence is 0"),
        ({"confidence": math.nan}, "confidence is nan"),
        ({"confidence": 95}, "confidence is 95"),
        ({"resamples": 39}, "resamples is 39: a confidence of 0.95 takes 40 or more"),
        ({"resamples": 0}, "resamples is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(change, problem):
    rows = np.arange(20.0)
    with pytest.raises(RequestError, match=problem):
        compare(**{"gold": rows, "base": rows[::-1], "tuned": np.sin(rows)} | change)


def test_all_problems_are_told_at_once():
    with pytest.raises(RequestError) as caught:
        compare([1, 2], [[1], [2]], ["x", "y"], confidence=2, seed=-3)
    assert len(caught.value.problems) == 4


def figures(**changes: object) -> Comparison:
    values = {
        "n": 1379, "groups": 1179, "base": 0.82032, "tuned": 0.83244, "difference": 0.01212, "low": 0.0045,
        "high": 0.0198, "confidence": 0.95, "p": 0.00319968, "resamples": 10_000, "seed": 0, "verdict": "improved",
        "detectable": 0.0109, "more_rows": 400, "detectable_with_more": 0.00959,
    }  # fmt: skip
    return Comparison(**(values | changes))


def test_more_rows_are_about_a_third_more_and_the_gain_shrinks_with_their_root():
    result = compare(*dependent_rows(0), resamples=200)
    assert 0.2 <= result.more_rows / result.n <= 0.4
    assert str(result.more_rows).strip("0") in set("123456789")
    expected = result.detectable * math.sqrt(result.n / (result.n + result.more_rows))
    assert result.detectable_with_more == pytest.approx(expected)


def test_the_power_line_reads_as_it_should():
    assert power_sentence(figures()) == (
        "With these 1,379 rows (1,179 groups) a gain of 1.09 points or more would have been seen in 4 of 5 runs; "
        "400 more labelled rows would bring that to 0.96."
    )
    assert power_sentence(figures(n=20, groups=20, detectable=0.1004, more_rows=1, detectable_with_more=0.1002)) == (
        "With these 20 rows a gain of 10.04 points or more would have been seen in 4 of 5 runs; "
        "1 more labelled row would bring that to 10.02."
    )


def test_the_verdict_reads_as_it_should():
    assert verdict_sentence(figures()) == (
        "Improved: Spearman x 100 went from 82.03 to 83.24, +1.21 points (95 % interval +0.45 to +1.98, p = 0.003)."
    )
    tiny = figures(difference=0.00003, low=0.000002, high=0.0001)
    assert "+0.003 points (95 % interval +0.0002 to +0.01," in verdict_sentence(tiny)
    assert verdict_sentence(figures(p=1 / 10_001)).endswith("(95 % interval +0.45 to +1.98, p < 0.001).")


def test_the_sentences_of_real_results_hold_their_figures_or_their_reason():
    gold, base, tuned, groups = dependent_rows(0)
    undefined = compare(gold, base, np.ones(len(gold)), groups)
    assert verdict_sentence(undefined) == "No evidence: the tuned model's similarities are constant."
    assert power_sentence(undefined) == ""
    same = verdict_sentence(compare(gold, base, base, groups))
    assert same.startswith("No evidence: the two models give the same similarities; Spearman x 100 went from ")
    few = verdict_sentence(compare(gold, base, tuned, groups % 4))
    assert "it takes 10 groups" in few
    assert "interval" not in few
    assert f"{len(gold)} rows (200 groups)" in power_sentence(compare(gold, base, tuned, groups, resamples=100))


def test_a_comparison_is_a_value_that_json_can_hold():
    result = compare(*dependent_rows(0), resamples=100)
    plain = {int, float, str, type(None)}
    assert {type(value) for value in dataclasses.asdict(result).values()} <= plain


@given(
    st.none() | st.tuples(st.floats(-1, 1), st.floats(-1, 1)).map(sorted),
    st.sampled_from([0.005, 0.0, 0.02]),
)
def test_a_probe_is_not_worse_if_and_only_if_the_lower_end_is_above_the_margin(ends, margin):
    low, high = ends or (None, None)
    found = figures(low=low, high=high)
    assert not_worse(found, margin) == (ends is not None and low > -margin)
    expected = "cannot tell"
    if ends is not None:
        expected = "not worse" if low > -margin else "worse" if high < 0 else "cannot tell"
    assert probe_answer(found, margin) == expected


def test_half_a_point_is_what_a_probe_may_lose():
    assert probe_answer(figures(low=-0.004, high=-0.001)) == "not worse"  # less, and surely less
    assert probe_answer(figures(low=-0.005, high=0.01)) == "cannot tell"
    assert probe_answer(figures(low=-0.02, high=-0.0001)) == "worse"
    assert not not_worse(figures(low=-0.005, high=0.01))
    gold, base, _, groups = dependent_rows(0)
    assert probe_answer(compare(gold, base, base, groups)) == "not worse"
    assert probe_answer(compare(gold, base, np.ones(len(gold)), groups)) == "cannot tell"


@pytest.mark.parametrize(
    ("value", "round_figure"), [(0.2, 1), (1.4, 1), (7.5, 8), (44, 40), (95, 100), (250, 300), (96_321, 100_000)]
)
def test_rows_that_would_help_are_told_to_one_digit(value, round_figure):
    assert _round_figure(value) == round_figure


def test_the_fewest_resamples_have_one_draw_beyond_each_end():
    data = dependent_rows(2)
    assert compare(*data, resamples=40).resamples == 40
    with pytest.raises(RequestError, match=r"resamples is 39: a confidence of 0.95 takes 40 or more"):
        compare(*data, resamples=39)


def test_every_array_is_looked_at_before_anything_is_told():
    with pytest.raises(RequestError) as caught:
        compare(["a", "b"], [0.1, "c"], [[0.1], [0.2]])
    assert [problem.split()[0] for problem in caught.value.problems] == ["gold", "base", "tuned"]
