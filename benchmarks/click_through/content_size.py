"""Group B, of the right size? Calibration, TOC curves, and the bands of all curves."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from benchmarks.click_through.agreement import same_points
from benchmarks.click_through.browser import Visit, read_interval, read_numbers
from benchmarks.click_through.case import CannotTell, expect
from benchmarks.click_through.content_figures import chosen, curve_points
from benchmarks.click_through.truth import Truth

KINDS = {"gain": "Qini", "lift": "Uplift", "toc": "TOC"}
CENTRE = 1e-4
"""How far the middle of a band may lie from its curve, in parts of the curve's height."""
WIDTH = 0.12
"""By how much the mean width of a band, which is resampled 400 times, may differ from the delta method's."""
_NO_PICTURE = "Nothing to show for this choice"


def calibration_points(visit: Visit, truth: Truth, model: str, stage: str, arm: str) -> None:
    """Observed stands over predicted effect by tenth, with its interval; the dashed line has equal coordinates."""
    what = f"calibration of {model} at {stage}, {arm}"
    title = visit.text("#figure-calibration-title")
    if model not in truth.calibrated:
        expect(title == _NO_PICTURE, f"{model} only ranks, and its calibration is headed {title!r}")
        return
    expect(title.endswith(model), f"{what}: headed {title!r}")
    exact = truth.tenths(model, stage, arm)
    drawn = [one for one in visit.traces("calibration") if one["name"].startswith("observed")]
    points = sorted((x, y) for one in drawn for x, y in zip(one["x"], one["y"], strict=True))
    wanted = sorted(zip(exact["predicted"], exact["observed"], strict=True))
    same_points([x for x, _ in points], [x for x, _ in wanted], f"{what}: predicted")
    same_points([y for _, y in points], [y for _, y in wanted], f"{what}: observed")
    certain = exact[exact["high"] > exact["low"]]
    bars = next((one["error_y"] for one in drawn if one["name"] == "observed"), [[], []])
    same_points(bars[0], certain["high"] - certain["observed"], f"{what}: upper ends")
    same_points(bars[1], certain["observed"] - certain["low"], f"{what}: lower ends")
    line = visit.trace("calibration", "right size")
    ends = [exact["predicted"].min(), exact["predicted"].max()]
    same_points([line["x"], line["y"]], [ends, ends], f"{what}: the line of what is right")
    _said(visit, truth, model, stage, arm)


def _said(visit: Visit, truth: Truth, model: str, stage: str, arm: str) -> None:
    """Stage, arm and the slope with its interval stand under the title."""
    said = visit.subtitle("calibration")
    expect(truth.stage(stage) in said and truth.arm(arm) in said, f"the calibration says {said!r}")
    exact = truth.metric(model, stage, arm, "calibration_slope")
    found = re.search(r"calibration_slope ([^,]*)", said)
    if exact is None or exact["value"] is None:
        return
    expect(found is not None, f"no slope in {said!r}")
    assert found is not None
    expect(read_numbers(found[1])[0].agrees(exact["value"]), f"{said!r}, the files say {exact['value']:.4g}")
    ends = read_interval(found[1], found[1])
    if exact["low"] is not None and exact["high"] is not None:
        expect(
            len(ends) == 2 and ends[0].agrees(exact["low"]) and ends[1].agrees(exact["high"]),
            f"interval of the slope in {said!r}: {exact['low']:.4g} to {exact['high']:.4g} by the files",
        )


def calibration_figure(visit: Visit, truth: Truth) -> None:
    stage, arm, model = chosen(visit, truth)
    calibration_points(visit, truth, model, stage, arm)
    titles = visit.js(
        "['xaxis', 'yaxis'].map((a) => document.getElementById('figure-calibration').layout[a].title.text)"
    )
    for title, word in zip(titles, ("predicted", "observed"), strict=True):
        expect(word in title, f"the axis of what was {word} is called {title!r}")


def calibrations(visit: Visit, truth: Truth) -> None:
    """Every model at the first and the last stage, and with every arm in turn."""
    arms = len(truth.arms) - 1
    for number, model in enumerate(truth.models):
        for s in (0, len(truth.stages) - 1):
            a = (number + s) % arms
            for name, index in (("stage", s), ("arm", a), ("model", number)):
                visit.choose(name, str(index))
            calibration_points(visit, truth, model, truth.stages[s], truth.arms[1 + a])


def bands(visit: Visit, truth: Truth) -> None:
    """Bands of all models around all three curves: in their middle, and as wide as the rows allow."""
    stage, arm, _ = chosen(visit, truth)
    visit.page.check('input[data-state="bands"]')
    for kind, word in KINDS.items():
        visit.choose("curve", kind)
        expect(
            visit.text("#figure-curve-title").startswith(word),
            f"headed {visit.text('#figure-curve-title')!r}",
        )
        curve_points(visit, truth, stage, arm, kind)
        for model in truth.models:
            _band(visit, truth, model, stage, arm, kind)


def _band(visit: Visit, truth: Truth, model: str, stage: str, arm: str, kind: str) -> None:
    what = f"band of the {kind} curve of {model} at {stage}, {arm}"
    curve, band = visit.trace("curve", model), visit.trace("curve", f"{model}, band")
    x, low, high = halves(band)
    line = dict(zip(np.round(curve["x"], 9), curve["y"], strict=True))
    at = np.array([line.get(place, np.nan) for place in np.round(x, 9)], float)
    expect(
        np.isfinite(at).all() and len(x) > 0.7 * len(line),
        f"{what}: {len(x)} points, the curve has {len(line)}",
    )
    height = float(np.abs(np.array(curve["y"], float)).max())
    off = float(np.abs((low + high) / 2 - at).max())
    expect(off <= CENTRE * height, f"{what}: its middle is {off:.3g} off the curve (height {height:.3g})")
    places = [int(np.argmin(np.abs(x - share))) for share in np.linspace(0.2, 0.9, 15)]
    exact = np.array([truth.curve_error(model, stage, arm, kind, float(x[p])) for p in places])
    ratio = float(np.mean((high - low)[places] / (2 * truth.z * exact)))
    expect(abs(ratio - 1) <= WIDTH, f"{what}: {ratio:.2f} times as wide as the rows say")


def halves(band: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places, lower and upper end of a band, which is drawn as one closed line there and back."""
    x, y = np.array(band["x"], float), np.array(band["y"], float)
    if len(x) % 2:
        raise CannotTell(f"a band of {len(x)} points has no two sides")
    half = len(x) // 2
    one, other = y[:half], y[half:][::-1]
    return x[:half], np.minimum(one, other), np.maximum(one, other)
