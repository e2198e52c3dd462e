from __future__ import annotations

import pytest
import torch

from hf_simtune import precision


@pytest.mark.parametrize(("bf16", "expected"), [(0.5, "bf16"), (0.66, "bf16"), (0.7, "fp32"), (2.0, "fp32")])
def test_auto_takes_bf16_where_it_is_half_as_fast_again(
    monkeypatch: pytest.MonkeyPatch, bf16: float, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(precision, "_seconds", lambda dtype: bf16 if dtype is torch.bfloat16 else 1.0)
    chosen, why = precision.decide("auto")
    assert chosen == expected
    assert f"{1 / bf16:.1f} times as fast" in why


def test_the_probe_measures_a_time() -> None:
    assert 0 < precision._seconds(torch.float32, rounds=1) < 10


@pytest.mark.parametrize("asked", ["fp32", "bf16"])
def test_what_is_asked_for_is_taken(asked: str) -> None:
    assert precision.decide(asked) == (asked, "as asked for")
