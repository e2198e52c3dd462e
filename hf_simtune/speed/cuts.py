"""Where to cut rows that are sorted by length, so that each piece padded to its own longest costs least."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

__all__ = ["cuts"]


def cuts(lengths: Sequence[int], cost: Callable[[int, int], float]) -> list[tuple[int, int]]:
    """The cheapest way to cut sorted rows into consecutive pieces.

    Args:
        lengths: tokens per row, ascending.
        cost: what a piece of so many rows padded to so many tokens costs, its fixed part included.

    Returns:
        ``(first row, row behind the last)`` of each piece. Rows of one length are never parted, so the search is over
        distinct lengths: quadratic in their number, whatever the batch.
    """
    counts = sorted(Counter(lengths).items())
    ends = [0]
    for _, rows in counts:
        ends.append(ends[-1] + rows)
    best: list[float] = [0.0]
    came_from = [0]
    for end in range(1, len(ends)):
        longest = counts[end - 1][0]
        options = [(best[start] + cost(ends[end] - ends[start], longest), start) for start in range(end)]
        value, start = min(options)
        best.append(value)
        came_from.append(start)
    pieces = []
    end = len(counts)
    while end > 0:
        pieces.append((ends[came_from[end]], ends[end]))
        end = came_from[end]
    return pieces[::-1]
