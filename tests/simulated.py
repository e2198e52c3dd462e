"""Scored rows whose true difference of two Spearman correlations is known, and how often an interval holds it.

Rows come in groups as those of STSb's test split do. Gold and the errors of both models are normal, half of the
variance of each is the group's. Each row alone is then a draw of one bivariate normal distribution whatever its group,
and with more and more groups a Spearman correlation goes to that distribution's: the truth is a formula, not a sample.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from scipy import stats
from scipy.integrate import quad

from hf_simtune.evaluation.compare import Comparison, compare

# Rows of a group: how many groups of STSb's test split (1,379 rows) have so many.
SIZES = {1: 1104, 2: 45, 3: 13, 4: 6, 5: 2, 7: 1, 8: 3, 10: 1, 11: 1, 14: 1, 21: 1, 25: 1}
GROUPS = sum(SIZES.values())
STEPS = 26  # values of a gold score that is rounded: 0 to 5 by 0.2
SHARED = 0.5  # of each variance, the group's. In STSb's gold scores it is 0.30, in MiniLM's errors on them 0.17
ALIKE = 0.8  # correlation of the two models' errors: that of MiniLM before and after CoSENT on STSb

Interval = tuple[float, float]
Method = Callable[..., Comparison]


@dataclasses.dataclass(frozen=True)
class World:
    """Two models' Spearman correlations with gold in the population, and what their rows are like."""

    name: str
    base: float
    tuned: float
    tied: bool = False  # gold has STEPS values and no more

    @property
    def difference(self) -> float:
        """The truth: tuned less base."""
        return population(latent(self.tuned), self.tied) - population(latent(self.base), self.tied)

    def rows(self, rng: np.random.Generator, groups: int) -> tuple[np.ndarray, ...]:
        """Gold, base, tuned and the group of each row, of so many groups drawn anew."""
        sizes = rng.choice(list(SIZES), size=groups, p=np.array(list(SIZES.values())) / GROUPS)
        labels = np.repeat(np.arange(groups), sizes)

        def normal() -> np.ndarray:
            own = rng.normal(size=len(labels))
            return math.sqrt(SHARED) * rng.normal(size=groups)[labels] + math.sqrt(1 - SHARED) * own

        gold, common = normal(), normal()
        models = []
        for wanted in (self.base, self.tuned):
            error = math.sqrt(ALIKE) * common + math.sqrt(1 - ALIKE) * normal()
            rho = latent(wanted)
            models.append(rho * gold + math.sqrt(1 - rho * rho) * error)
        if self.tied:
            gold = np.searchsorted(cuts(), gold).astype(np.float64)
        return gold, *models, labels


NOTHING = World("nothing changed", 0.82, 0.82)
WORLDS = (
    NOTHING,
    World("nothing changed, tied gold scores", 0.82, 0.82, tied=True),
    World("one point gained", 0.82, 0.83),
    World("five points gained", 0.82, 0.87),
)


def latent(spearman: float) -> float:
    """Pearson's correlation of the bivariate normal distribution that has this Spearman correlation."""
    return 2 * math.sin(math.pi * spearman / 6)


def cuts() -> np.ndarray:
    """Where a normal gold score goes from one value to the next: the values are equally frequent."""
    return np.array([NormalDist().inv_cdf(step / STEPS) for step in range(1, STEPS)])


def population(rho: float, tied: bool = False) -> float:
    """The Spearman correlation of a bivariate normal distribution, whose first variable may be cut into STEPS values.

    Whole, it is 6/pi asin(rho/2). Cut, it is the correlation of midrank and rank: given gold z a model's rank has the
    mean Phi(rho z / sqrt(2 - rho^2)), which is integrated within each step. The midranks of equally frequent steps
    have the variance (1 - 1/STEPS^2)/12, and the ranks 1/12.
    """
    if not tied:
        return 6 / math.pi * math.asin(rho / 2)
    slope = rho / math.sqrt(2 - rho * rho)
    edges = [-np.inf, *cuts(), np.inf]
    covariance = sum(
        ((step + 0.5) / STEPS - 0.5) * quad(lambda z: stats.norm.cdf(slope * z) * stats.norm.pdf(z), low, high)[0]
        for step, (low, high) in enumerate(itertools.pairwise(edges))
    )
    return float(covariance / math.sqrt((1 - 1 / STEPS**2) / 12 / 12))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counted:
    """How often the interval held the truth and what the verdicts were, each with its 95 % Monte Carlo interval."""

    world: str
    groups: int
    runs: int
    resamples: int
    truth: float
    held: int
    above: int  # the interval lay above the truth, and below
    below: int
    improved: int
    regressed: int
    mean: float  # of the differences that were found

    def share(self, name: str) -> tuple[float, Interval]:
        """In per cent, with the exact interval of Clopper and Pearson."""
        count = getattr(self, name)
        found = stats.binomtest(count, self.runs).proportion_ci(0.95, "exact")
        return 100 * count / self.runs, (100 * float(found.low), 100 * float(found.high))

    def line(self) -> str:
        """As JSON, in per cent."""
        shares = {}
        for name in ("held", "above", "below", "improved", "regressed"):
            value, (low, high) = self.share(name)
            shares[name] = [round(value, 2), round(low, 2), round(high, 2)]
        return json.dumps(dataclasses.asdict(self) | shares)


def count(world: World, groups: int, runs: int, resamples: int, seed: int = 0, method: Method = compare) -> Counted:
    """Draw rows again and again, compare the models on them, and count.

    An interval of fewer resamples is a little narrower. Its lower end is the k-th of B differences, k = 1 + 0.025
    (B - 1), which the truth is below with the mean probability k / (B + 1) wherever the method is right: 2.69 % at
    B = 500 and 2.51 % at the 10,000 of a run. So 500 resamples cover 0.36 points less and call 0.18 points more of
    unchanged models improved: they judge the method too harshly, never too kindly.
    """
    rng = np.random.default_rng([seed, groups, WORLDS.index(world)])
    truth = world.difference
    told, verdicts, differences = dict.fromkeys(("held", "above", "below"), 0), [], []
    for run in range(runs):
        found = method(*world.rows(rng, groups), resamples=resamples, seed=run)
        assert found.low is not None and found.high is not None and found.difference is not None
        told["above" if found.low > truth else "below" if found.high < truth else "held"] += 1
        verdicts.append(found.verdict)
        differences.append(found.difference)
    return Counted(
        world=world.name,
        groups=groups,
        runs=runs,
        resamples=resamples,
        truth=truth,
        improved=verdicts.count("improved"),
        regressed=verdicts.count("regressed"),
        mean=float(np.mean(differences)),
        **told,
    )
