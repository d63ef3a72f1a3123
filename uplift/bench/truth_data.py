"""Semi-synthetic data with known effects as campaigns: IHDP, ACIC 2016, Twins and RealCause.

Files are looked for below the data homes, as ``ihdp/ihdp_units.parquet`` and so on. Seed k takes the k-th replication that
is there (sorted by its number), so that seeds are what replications are in the literature, and splits its units at random.

How an outcome that is a plain number becomes a campaign
--------------------------------------------------------
A campaign has a chain of binary stages, and a value that follows the last of them. A continuous outcome is a value that
everybody has. It is given as the value after a stage ``observed`` that every unit reaches: E[value | x, arm] =
P(observed) E[value | observed, x, arm] with P(observed) = 1, which is exact for learners of the entire space and for the
chain models alike. The stage is never scored. It costs every learner one trivial model (so times are an upper limit), and
networks must not choose their epoch by its Qini, which is zero: give them ``criterion = "loss"``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from uplift.bench.data import Sample
from uplift.bench.entries import TruthEntry
from uplift.bench.propensity import with_estimated_propensity
from uplift.campaign import Campaign
from uplift.datasets.local import data_homes
from uplift.effects import Effects
from uplift.errors import DatasetError

OBSERVED = "observed"
"""The stage that everybody reaches."""


@dataclass(frozen=True, kw_only=True)
class TruthCard:
    """Where a data set with known effects is and what its columns mean.

    Attributes
    ----------
    units, outcomes : str
        Files below a data home; the outcome file may be the same, and is else joined by ``unit``.
    replication : str, optional
        Column that numbers the replications.
    outcome : str
        Factual outcome.
    mu : tuple of str
        Its potential outcomes (their means where these are known) under control and under treatment.
    binary : bool
        Whether the outcome is 0/1, and thus a stage of its own.
    less_is_better : bool
        Deaths.
    given : str, optional
        Column with the published probability of treatment.
    drop : tuple of str
        Columns that are no features.
    citation, note : str
    """

    units: str
    outcomes: str
    outcome: str
    mu: tuple[str, str]
    citation: str
    replication: str | None = None
    binary: bool = False
    less_is_better: bool = False
    given: str | None = None
    drop: tuple[str, ...] = ()
    note: str = ""


def _realcause(name: str, *, binary: bool = False) -> TruthCard:
    return TruthCard(
        units=f"realcause/realcause_{name}_units.parquet",
        outcomes=f"realcause/realcause_{name}_outcomes.parquet",
        replication="replication",
        outcome="y",
        mu=("y0", "y1"),
        binary=binary,
        less_is_better=binary,
        citation="Neal, Huang, Raghupathi, RealCause: realistic causal inference benchmarking, 2020",
        note="The truth is a difference of sampled potential outcomes, not of means: no PEHE of 0 can be reached.",
    )


TRUTH_CARDS = {
    "ihdp": TruthCard(
        units="ihdp/ihdp_units.parquet",
        outcomes="ihdp/ihdp_outcomes.parquet",
        replication="replication",
        outcome="y_factual",
        mu=("mu0", "mu1"),
        citation="Hill, Bayesian nonparametric modeling for causal inference, JCGS 2011, setting A of NPCI",
        note="Its scale differs by two orders of magnitude between replications: means are ruled by a few of them.",
    ),
    "acic2016": TruthCard(
        units="acic2016/acic2016_units.parquet",
        outcomes="acic2016/acic2016_outcomes.parquet",
        replication="setting",
        outcome="y",
        mu=("mu0", "mu1"),
        citation="Dorie, Hill, Shalit, Scott, Cervone, Automated versus do-it-yourself methods for causal inference, Statistical Science 2019",
        note="Every replication is another setting of the challenge (other overlap, other alignment, other effects).",
    ),
    "twins": TruthCard(
        units="twins/twins.parquet",
        outcomes="twins/twins.parquet",
        outcome="y",
        mu=("y0", "y1"),
        binary=True,
        less_is_better=True,
        given="propensity",
        drop=("y_cf",),
        citation="Almond, Chay, Lee, The costs of low birth weight, QJE 2005; Louizos et al., CEVAE, NeurIPS 2017",
        note="The truth is the difference of two observed deaths, not of risks: no PEHE of 0 can be reached.",
    ),
    "realcause_twins": _realcause("twins", binary=True),
    "realcause_lalonde_psid": _realcause("lalonde_psid"),
    "realcause_lalonde_cps": _realcause("lalonde_cps"),
}
"""By the name of the source."""


def truth_files(source: str) -> tuple[Path, Path]:
    """Paths of the units and of the outcomes.

    Raises
    ------
    DatasetError
        They are not on this machine; the sentence says where to put them.
    """
    card = TRUTH_CARDS[source]
    for home in data_homes():
        paths = home / card.units, home / card.outcomes
        if all(path.is_file() for path in paths):
            return paths
    home = data_homes()[0]
    wanted = " and ".join(dict.fromkeys(str(home / name) for name in (card.units, card.outcomes)))
    raise DatasetError(f"data set {source!r} is not on this machine; put {wanted} there.")


def replications(source: str) -> list[int]:
    """Numbers of the replications that are there; [0] for a data set that has none.

    Raises
    ------
    DatasetError
        The files are not on this machine.
    """
    card = TRUTH_CARDS[source]
    if card.replication is None:
        truth_files(source)
        return [0]
    column = pd.read_parquet(truth_files(source)[1], columns=[card.replication])[card.replication]
    return sorted(int(number) for number in column.unique())


def load_truth(entry: TruthEntry, seed: int) -> Sample:
    """The sample of a seed, with the truth about training and test rows.

    Raises
    ------
    DatasetError
        The files are not here, hold fewer replications than the seed asks for, or no published propensity.
    """
    card = TRUTH_CARDS[entry.source]
    numbers = replications(entry.source)
    if card.replication is not None and seed >= len(numbers):
        raise DatasetError(
            f"data set {entry.source!r} has {len(numbers)} replications here, so there is no seed {seed}; use at most {len(numbers)} seeds."
        )
    if entry.propensity == "given" and card.given is None:
        raise DatasetError(
            f"data set {entry.source!r} has no published propensity; use propensity = 'estimated' or 'none'."
        )
    frame = truth_frame(entry.source, numbers[seed] if card.replication is not None else None)
    judge, learn = split_rows(len(frame), entry.test, seed)
    chosen = np.sort(learn if entry.rows is None else learn[: entry.rows]), np.sort(judge)
    campaign, truth = _campaign(frame, card, entry)
    (train, ours), (test, theirs) = ((campaign.take(rows), truth.take(rows)) for rows in chosen)
    if entry.propensity == "estimated":
        train, test, _ = with_estimated_propensity(train, test, seed=seed)
    scored = campaign.chain if card.binary else ("value",)
    return Sample(train, test, theirs, ours, scored, card.less_is_better)


def split_rows(rows: int, test: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Test rows and training rows of a seed, both in random order."""
    order = np.random.default_rng([seed, 7]).permutation(rows)
    held = round(test * rows)
    return order[:held], order[held:]


def truth_frame(source: str, replication: int | None) -> pd.DataFrame:
    """Rows of one replication in the order of their units: features, treatment, outcome and potential outcomes."""
    card = TRUTH_CARDS[source]
    units, outcomes = truth_files(source)
    frame = pd.read_parquet(units)
    if units == outcomes:
        return frame.assign(unit=np.arange(len(frame)))
    drawn = pd.read_parquet(outcomes)
    drawn = drawn[drawn[card.replication] == replication].drop(columns=[card.replication])
    return frame.merge(drawn, on="unit", validate="one_to_one").sort_values("unit", ignore_index=True)


def truth_campaign(entry: TruthEntry, replication: int | None) -> tuple[Campaign, Effects]:
    """All rows of a replication as a campaign, with the true effects; no propensity is estimated."""
    return _campaign(truth_frame(entry.source, replication), TRUTH_CARDS[entry.source], entry)


def _campaign(frame: pd.DataFrame, card: TruthCard, entry: TruthEntry) -> tuple[Campaign, Effects]:
    truth = frame[list(card.mu)].to_numpy(np.float64)
    hidden = {"y0", "y1", "mu0", "mu1", "y_cfactual", *card.mu, *card.drop}
    kept = frame.drop(columns=[name for name in hidden if name in frame.columns])
    roles = {"treatment": "treatment", "control": 0, "unit": "unit", "name": entry.name}
    if card.given is not None:
        if entry.propensity == "given":
            share = kept[card.given].to_numpy(np.float64)
            kept["e"] = np.where(kept["treatment"] == 1, share, 1 - share)
            roles["propensity"] = "e"
        kept = kept.drop(columns=[card.given])
    if card.binary:
        campaign = Campaign.from_frame(kept, chain=[card.outcome], **roles)
        mu = truth[:, :, None]
    else:
        kept[OBSERVED] = np.int8(1)
        campaign = Campaign.from_frame(kept, chain=[OBSERVED], value=card.outcome, **roles)
        mu = np.stack([np.ones_like(truth), truth], axis=2)
    effects = Effects(
        mu, units=campaign.unit_ids, arms=campaign.arm_names, stages=campaign.stages, model="truth"
    )
    return campaign, effects
