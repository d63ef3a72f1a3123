"""`comparison`: several runs side by side as one HTML file that opens offline and sends no request."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uplift
from uplift.allocation import Allocation
from uplift.campaign import Campaign
from uplift.effects import Effects
from uplift.errors import UpliftError
from uplift.io.atomic import write_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

FILE_NAME = "compare.html"
MOST_RUNS = 8
"""More columns than this nobody can read side by side."""


@dataclass(frozen=True, eq=False)
class ComparedRun:
    """One run of a comparison.

    Attributes
    ----------
    label : str
        What it is called on the page; no two runs share one.
    run, metrics : dict
        Content of ``run.json`` and ``metrics.json``.
    checks : list of dict
        Content of ``checks.json``.
    plan : Allocation or None
        With its budget curve.
    test : Campaign
        The test rows, without features.
    effects : Effects
        Those of the model that decides, on the test rows.
    """

    label: str
    run: dict[str, Any]
    metrics: dict[str, Any]
    checks: list[dict[str, Any]]
    plan: Allocation | None
    test: Campaign
    effects: Effects

    @property
    def model(self) -> str:
        """The model that decides."""
        return str(self.run["chosen_model"])


def comparison(path: str | os.PathLike[str], runs: Sequence[ComparedRun]) -> Path:
    """Write the comparison.

    Parameters
    ----------
    path : path
        A file that ends in ``.html``, or a folder in which ``compare.html`` is written.
    runs : sequence of ComparedRun
        Two to eight.

    Raises
    ------
    UpliftError
        Too few or too many runs, or two with one label.
    OutputError
        It cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() not in (".html", ".htm"):
        target = target / FILE_NAME
    return write_text(target, render_comparison(runs))


def render_comparison(runs: Sequence[ComparedRun]) -> str:
    """The page of :func:`comparison` as text."""
    from uplift.reporting import compare_models, compare_plans, compare_settings
    from uplift.reporting.embed import figure_spec, script_json
    from uplift.reporting.markup import environment, source
    from uplift.reporting.names import Names
    from uplift.reporting.page import plotly_script
    from uplift.reporting.theme import template

    labels = [one.label for one in runs]
    if not 2 <= len(runs) <= MOST_RUNS:
        raise UpliftError(f"{len(runs)} runs cannot be compared; give 2 to {MOST_RUNS}.")
    if len(set(labels)) < len(labels):
        raise UpliftError(f"two runs are called {labels[0]!r}; give every run a label of its own.")
    # The first run's words for arms and stages; arms of other runs keep their names.
    names = Names.of(runs[0].test, runs[0].run)
    stages = list(dict.fromkeys(stage for one in runs for stage in one.test.stages))
    arms = list(dict.fromkeys(arm for one in runs for arm in one.test.arm_names[1:]))
    pairs = list(combinations(range(len(runs)), 2))

    drawn: dict[str, Any] = {}

    def draw(key: str, found: tuple[go.Figure, str] | None) -> None:
        if found is not None:
            drawn[key] = figure_spec(*found)

    for s, stage in enumerate(stages):
        for a, arm in enumerate(arms):
            draw(f"headline:{s}:{a}", compare_models.headline_figure(runs, stage, arm, names))
    draw("curves", compare_plans.curves_figure(runs))
    start_stage = stages.index(str(runs[0].run.get("decide_stage") or stages[0]))
    state = {"stage": start_stage, "arm": 0, "pair": 0}
    groups = compare_models.same_test_groups(runs)
    return (
        environment()
        .get_template("compare.html.j2")
        .render(
            labels=labels,
            subtitle=_subtitle(runs),
            warnings=compare_settings.warnings(runs, groups),
            keys=compare_settings.keys(runs, groups),
            settings_table=compare_settings.settings_table(runs),
            checks_table=compare_settings.checks_table(runs),
            scores_table=compare_models.scores_table(runs, stages, arms, names),
            differences_table=compare_models.differences_table(runs, groups, stages, arms, names),
            plans_table=compare_plans.plans_table(runs),
            overlap_table=compare_plans.overlap_table(runs, pairs),
            matrix_table=compare_plans.matrix_table(runs, pairs, names),
            has_curves="curves" in drawn,
            options={
                "stages": [(i, names.stage(stage)) for i, stage in enumerate(stages)],
                "arms": [(i, names.arm(arm)) for i, arm in enumerate(arms)],
                "pairs": [(i, f"{labels[a]} and {labels[b]}") for i, (a, b) in enumerate(pairs)],
            },
            start=state,
            confidence=f"{100 * float(runs[0].metrics['confidence']):g} %",
            data_json=script_json(
                {
                    "templates": {
                        "light": template().to_plotly_json(),
                        "dark": template(dark=True).to_plotly_json(),
                    },
                    "figures": drawn,
                    "state": state,
                    "budget": None,
                }
            ),
            version=uplift.__version__,
            style=source("report.css") + source("compare.css"),
            script=source("page.js") + source("report.js"),
            plotly=plotly_script(),
        )
    )


def _subtitle(runs: Sequence[ComparedRun]) -> str:
    campaigns = list(dict.fromkeys(str(one.run["campaign"]["name"]) for one in runs))
    return f"{len(runs)} runs of {campaigns[0] if len(campaigns) == 1 else f'{len(campaigns)} campaigns'}"
