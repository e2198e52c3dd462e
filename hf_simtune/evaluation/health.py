"""How the vectors of some sentences lie at a step of training, what is wrong with that, and how it is told."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_simtune.evaluation import geometry
from hf_simtune.record import Health, RunRecord

__all__ = ["UNHEALTHY", "SparsityFigures", "finding_sentence", "findings", "harm", "measure", "unclaimed", "unfit"]

UNHEALTHY = ("diverged", "undefined", "collapsed", "dead", "dense")

NARROW = 0.1  # 1 - anisotropy at and below which a space has collapsed
NARROWING = 0.15  # and at and below which that comes near
FEW_DIRECTIONS = 2.0  # effective rank below which it has
DENSE = 0.5  # share of active dimensions above which a sparse model is none
EXPLODED = 100  # times the usual norm at and above which a gradient explodes
GROWN = 10  # times the base's share
LEAST_SHARE = 0.001  # of active dimensions that growth is counted from: 31 of BERT's 30,522


@dataclasses.dataclass(frozen=True, kw_only=True)
class SparsityFigures:
    """How many entries of some vectors are not zero."""

    active_dimensions: float  # mean per vector, 0..dimensions
    sparsity: float  # share of zeros, 0..1

    @classmethod
    def of(cls, vectors: ArrayLike) -> SparsityFigures:
        """Of vectors of the shape (n, dimensions), neither of them 0. What is not a number counts as active."""
        rows = np.asarray(vectors)
        active = float(np.count_nonzero(rows)) / len(rows)
        return cls(active_dimensions=active, sparsity=1 - active / rows.shape[1])


def findings(now: Health, base: Health | None = None) -> tuple[str, ...]:
    """What is wrong with a measurement, next to the base's; without a base, what can be told of it alone.

    ``diverged``: the loss of a step, or its gradient, was no number, at this step or since the measurement before.

    ``undefined``: a sentence has a vector of zeros, or one that is not finite.

    ``collapsed``, by either of two rules that look at different things:

    - All directions are one. The anisotropy, the mean cosine of different sentences (Ethayarajh 2019,
      arXiv:1909.00512), is 0.9 or more, *and* 1 - anisotropy has more than halved. That is half the mean squared
      distance of two sentences on the unit sphere: at 0.9 a tenth is left of what independent directions have. By
      Jensen's inequality the uniformity (Wang & Isola 2020, arXiv:2005.10242) is then -0.4 or more, of the -3 or so of
      all-MiniLM-L6-v2; so it takes no threshold of its own. The 99 % of sentence-transformers issue #3469 lie beyond.
      The halving is for encoders that were never trained for sentences: they may begin there (Ethayarajh on GPT-2),
      and training leads them out (Gao et al. 2021, arXiv:2104.08821, section 5).
    - Few directions are left, say two opposite ones, whose mean cosine is 0: dimensional collapse (Jing et al. 2022,
      arXiv:2110.09348). The effective rank, which estimates it without labels (Garrido et al. 2023, arXiv:2210.02885),
      is below 2, or a tenth of the base's where that is more; a base of less than 4 must have lost half.

    ``narrowing``, a note only: the anisotropy is 0.85 or more and 1 - anisotropy has more than halved, or the effective
    rank is below a quarter of the base's. Not sooner: a loss that only ranks leaves the level of the cosines free.
    CoSENT on STSb, batch 32, at a learning rate of 1e-4 took all-MiniLM-L6-v2 from 0.09 to 0.79 and back to 0.64
    within 220 steps.

    ``exploding``: before clipping, a gradient had 100 times the median norm of the 100 steps before (exploding
    gradients: Pascanu et al. 2013, arXiv:1211.5063; that the norms of late tell them is ZClip's idea, Kumar et al.
    2025, arXiv:2504.02507). The trainer clips each to 1, so that the weights move no further than usual and training
    goes on; of that step and those behind it nothing is claimed, see ``unfit``.

    ``dead`` and ``dense``, of sparse models (sentence-transformers issue #3431): less than one active dimension per
    sentence; more than half of all dimensions, or ten times the base's share (or ten times 0.1 %, where the base has
    less). A base may have them itself, as SPLADE on an untrained head is dense.
    """
    found = ["diverged"] if now.diverged else []
    found += ["undefined"] if now.undefined else []
    if now.anisotropy is not None and now.effective_rank is not None and base is not None:
        spread, rank = 1 - now.anisotropy, now.effective_rank
        had, ranked = 1 - (base.anisotropy or 0.0), base.effective_rank or math.inf
        fewest = max(ranked / 10, min(FEW_DIRECTIONS, ranked / 2)) if math.isfinite(ranked) else FEW_DIRECTIONS
        halved = spread < had / 2
        if (spread <= NARROW and halved) or rank < fewest:
            found.append("collapsed")
        elif (spread <= NARROWING and halved) or (math.isfinite(ranked) and rank < ranked / 4):
            found.append("narrowing")
    if now.active_dimensions is not None and now.sparsity is not None:
        share = 1 - now.sparsity
        had = 1.0 if base is None or base.sparsity is None else 1 - base.sparsity
        if now.active_dimensions < 1:
            found.append("dead")
        elif share > DENSE or share > GROWN * max(had, LEAST_SHARE):
            found.append("dense")
    if now.gradient and now.usual_gradient and now.gradient >= EXPLODED * now.usual_gradient:
        found.append("exploding")
    return tuple(found)


def harm(now: Health, base: Health) -> tuple[str, ...]:
    """Those findings, notes left out, that training brought about: what the base had itself is not among them."""
    worse = {name for name in now.findings if name in UNHEALTHY and name not in base.findings}
    if now.undefined > base.undefined:
        worse.add("undefined")
    return tuple(name for name in UNHEALTHY if name in worse)


def unfit(kept: Health, history: Sequence[Health]) -> str | None:
    """Why nothing may be claimed of a model, whatever it scores; None where nothing speaks against that.

    Args:
        kept: how the vectors of the model that is compared lie.
        history: of its training, the base first.
    """
    if harms := harm(kept, history[0]):
        return f"the embeddings of step {kept.step}, which was kept, are unhealthy: {', '.join(harms)}"
    for found in history:
        if found.step <= kept.step and "exploding" in found.findings:
            norms = f"its norm was {found.gradient or 0:,.3g}, where {found.usual_gradient or 0:,.3g} was usual"
            return f"the gradient exploded by step {found.step}, and step {kept.step} was kept: {norms}"
    return None


def unclaimed(record: RunRecord) -> str | None:
    """Why nothing is claimed of a run's model because of its training; None where something may be."""
    if record.training.diverged:
        return f"training diverged: {record.training.diverged}"
    kept = next((health for health in record.health if health.step == record.training.best_step), None)
    return unfit(kept, record.health) if kept and kept.step else None


def measure(vectors: NDArray[np.float32], sparse: bool, step: int, epoch: float) -> Health:
    """How vectors of the shape (n, dimensions) lie; those without a direction are counted, never an error."""
    with np.errstate(invalid="ignore"):
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    directed = np.isfinite(lengths) & (lengths > 0)
    figures = None
    if directed.sum() >= 2:
        rows = vectors[directed]
        if sparse:
            rows = rows[:, rows.any(axis=0)]  # what is zero throughout changes no figure, and SPLADE has 30,522
        figures = geometry.measure(rows)
    counts = SparsityFigures.of(vectors) if sparse else None
    return Health(
        step=step,
        epoch=epoch,
        anisotropy=figures.anisotropy if figures else None,
        uniformity=figures.uniformity if figures else None,
        effective_rank=figures.effective_rank if figures else None,
        deviation=figures.deviation if figures else None,
        undefined=int((~directed).sum()),
        active_dimensions=counts.active_dimensions if counts else None,
        sparsity=counts.sparsity if counts else None,
    )


def finding_sentence(name: str, now: Health, base: Health, probe: int) -> str:
    """A finding in words, and what to do."""

    then = "before training" if base.step == 0 else f"at step {base.step}"

    def beside(found: float | None, before: float | None, digits: int, what: str = "") -> str:
        was = "" if now is base or before is None else f" ({before:,.{digits}f} {then})"
        return ("none" if found is None else f"{found:,.{digits}f}") + what + was

    similar = f"two different sentences have a cosine of {beside(now.anisotropy, base.anisotropy, 2, ' on average')}"
    rank = f"the effective rank is {beside(now.effective_rank, base.effective_rank, 1)}"
    active = (
        f"{beside(now.active_dimensions, base.active_dimensions, 1)} dimensions are active in a sentence on average"
    )
    gradient = f"{now.gradient or 0:,.3g}"
    usual = f"{now.usual_gradient or 0:,.3g}"
    texts = {
        "diverged": f"training diverged: {now.diverged}; lower the learning rate or lengthen the warm-up",
        "exploding": f"the gradient exploded: its norm was {gradient}, where {usual} was usual; it is clipped to 1, "
        "but no claim is made from there on: lower the learning rate or look for rows that are unlike the rest",
        "undefined": f"{now.undefined} of {probe} sentences have a vector that is zero or not finite; lower the "
        "learning rate, and if this happens in fp16, train in bf16 or fp32",
        "collapsed": f"the embeddings have collapsed: {similar}, and {rank}; lower the learning rate or the epochs, "
        "see that the labels differ, or take a loss that pushes other sentences apart (mnrl, cosent)",
        "narrowing": f"the embeddings draw together: {similar}, and {rank}; if this goes on they collapse: think of "
        "fewer epochs or a lower learning rate",
        "dead": f"the sparse embeddings are dead: {active}; lower the weights of the sparsity regularizer or the "
        "learning rate",
        "dense": f"the embeddings are not sparse: {active}; raise the weights of the sparsity regularizer, or "
        "train longer if they are still falling",
    }
    return texts[name]
