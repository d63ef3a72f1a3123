"""Group B, what drives it: importance of the features, and the effect by feature."""

from __future__ import annotations

from typing import Any

from benchmarks.click_through.agreement import row_of, same_interval, same_number, same_points
from benchmarks.click_through.browser import Visit
from benchmarks.click_through.case import CannotTell, expect
from benchmarks.click_through.content_tables import whole_table
from benchmarks.click_through.content_who import about, certain, same_bars, same_effect, same_share
from benchmarks.click_through.truth import HEADLINE, Truth

Drop = dict[str, Any]


def _importance(truth: Truth) -> dict[str, Any]:
    found: dict[str, Any] | None = (truth.insight or {}).get("importance")
    if found is None:
        raise CannotTell("the importance of the features was not computed")
    return found


def ranked(truth: Truth) -> list[str]:
    """Features by the sum of their drops over the arms, the largest first."""
    sums: dict[str, float] = {}
    for one in _importance(truth)["drops"]:
        sums[one["feature"]] = sums.get(one["feature"], 0.0) + (one["drop"] or 0.0)
    return sorted(sums, key=lambda name: -sums[name])


def _drops(truth: Truth, arm: str) -> dict[str, Drop]:
    return {one["feature"]: one for one in _importance(truth)["drops"] if one["arm"] == arm}


def importance_table(visit: Visit, truth: Truth) -> None:
    """Every feature of every arm: the loss with its interval, and how far the predictions moved."""
    table = whole_table(visit, "table-importance")
    moved = table.column("Mean change of the prediction")
    for arm in (truth.insight or {})["arms"]:
        drops = _drops(truth, arm)
        mine = [row[0].text for row in table.rows if row[1].text == truth.arm(arm)]
        expect(mine == [name for name in ranked(truth) if name in drops], f"features of {arm}: {mine}")
        for name, one in drops.items():
            what = f"importance of {name} for {arm}"
            row = row_of(table, name, truth.arm(arm))
            same_number(row[table.column(HEADLINE)], one["drop"], what)
            same_interval(row[table.column(HEADLINE)], one["low"], one["high"], what)
            same_number(row[moved], one["moved"], f"{what}: mean change")


def driver_sentence(visit: Visit, truth: Truth) -> None:
    """The answer names exactly the features whose interval lies above zero (the first five), or says that there are none."""
    said = visit.text("#drivers .answer")
    clear = [
        name
        for name in ranked(truth)
        if any((one["low"] or 0) > 0 for one in _importance(truth)["drops"] if one["feature"] == name)
    ]
    if not clear:
        expect("includes zero" in said, f"no feature is beyond chance, and the answer is {said!r}")
    places = [said.find(f"{name} (for ") for name in clear[:5]]
    expect(-1 not in places and places == sorted(places), f"{said!r}, beyond chance are {clear[:5]}")
    others = [name for name in ranked(truth) if name not in clear and f"{name} (for " in said]
    expect(not others, f"{said!r} names {others}, whose intervals include zero")


def importance_points(visit: Visit, truth: Truth, arm: str) -> None:
    """Largest mean loss on top; every mark at its feature's own loss."""
    about(visit, truth, "importance", arm)
    drops = _drops(truth, arm)
    order = [name for name in ranked(truth) if name in drops]
    texts = visit.js(
        "(() => { const a = document.getElementById('figure-importance')._fullLayout.yaxis; return Object.fromEntries(Array.from(a.tickvals, (v, i) => [v, a.ticktext[i]])); })()"
    )
    drawn = visit.trace("importance", "drop")
    named = [texts[f"{y:g}"] for y in drawn["y"]]
    expect(
        [text == name or "…" in text for text, name in zip(named, order, strict=True)] == [True] * len(order)
        and sorted(drawn["y"], reverse=True) == drawn["y"],
        f"features from the top: {named}, should be {order}",
    )
    same_points(drawn["x"], [drops[name]["drop"] for name in order], f"importance for {arm}")
    same_points(
        drawn["error_x"],
        [
            [drops[name]["high"] - drops[name]["drop"] for name in order],
            [drops[name]["drop"] - drops[name]["low"] for name in order],
        ],
        f"intervals of the importance for {arm}",
    )


def dependence_table(visit: Visit, truth: Truth) -> None:
    """Every range of the features that are looked at: share, predicted and observed effect."""
    assert truth.insight is not None
    table = whole_table(visit, "table-dependence")
    wanted = sum(len(one["bins"]) for one in truth.insight["dependence"]) * len(truth.insight["arms"])
    expect(len(table.rows) == wanted, f"{len(table.rows)} of {wanted} rows of effects by feature")
    for found in truth.insight["dependence"]:
        for arm in truth.insight["arms"]:
            for one in found["bins"]:
                what = f"{found['feature']} {one['label']}, {arm}"
                row = row_of(table, one["label"], truth.arm(arm), found["feature"])
                same_share(row[table.column("Share")], one["share"], one["observed"][arm]["rows"], what)
                same_number(
                    row[table.column("Predicted effect")], one["predicted"][arm], f"{what}: predicted"
                )
                same_effect(row[table.column("ate")], one["observed"][arm], f"{what}: observed")


def dependence_points(visit: Visit, truth: Truth, found: dict[str, Any], arm: str) -> None:
    """The dashed line and both kinds of marks over the feature's values."""
    what = f"effect by {found['feature']} of {arm}"
    title = visit.text("#figure-dependence-title")
    expect(title == f"Effect by {found['feature']}" or "…" in title, f"{what}: headed {title!r}")
    about(visit, truth, "dependence", arm)
    drawn = visit.trace("dependence", "predicted, everybody alike")
    same_points(drawn["x"], found["positions"], f"{what}: values")
    same_points(drawn["y"], found["effects"][arm], f"{what}: everybody alike")
    bins = [one for one in found["bins"] if one["position"] is not None]
    drawn = visit.trace("dependence", "predicted, such customers")
    same_points(drawn["x"], [one["position"] for one in bins], f"{what}: ranges")
    same_points(drawn["y"], [one["predicted"][arm] for one in bins], f"{what}: predicted")
    known = [one for one in bins if certain(one["observed"][arm])]
    if known:
        drawn = visit.trace("dependence", "observed, such customers")
        seen = [one["observed"][arm] for one in known]
        same_points(drawn["x"], [one["position"] for one in known], f"{what}: ranges observed")
        same_points(drawn["y"], [one["effect"] for one in seen], f"{what}: observed")
        same_bars(drawn["error_y"], seen, f"{what}: intervals")


def driver_figures(visit: Visit, truth: Truth) -> None:
    """Every arm, every feature: the figures and the rows of the table follow both selects."""
    assert truth.insight is not None
    found = truth.insight["dependence"]
    options = visit.js(
        "[...document.querySelectorAll('select[data-state=\"feature\"] option')].map((o) => o.text)"
    )
    expect(options == [one["feature"] for one in found], f"features to choose from: {options}")
    for index, arm in enumerate(truth.arms[1:]):
        visit.page.locator('#drivers select[data-state="arm"]').select_option(str(index))
        if arm not in truth.insight["arms"]:
            continue
        importance_points(visit, truth, arm)
        rows = visit.table("table-importance").rows
        expect({row[1].text for row in rows} == {truth.arm(arm)}, f"importance of another arm than {arm}")
        for number, one in enumerate(found):
            visit.choose("feature", str(number))
            dependence_points(visit, truth, one, arm)
            shown = [(row[0].text, row[1].text, row[2].text) for row in visit.table("table-dependence").rows]
            wanted = [(part["label"], truth.arm(arm), one["feature"]) for part in one["bins"]]
            expect(shown == wanted, f"rows at {arm}, {one['feature']}: {shown[:2]}")
    elsewhere = visit.page.input_value('#who select[data-state="arm"]')
    expect(elsewhere == str(len(truth.arms) - 2), "the same select in section 4 does not follow")


def importance_order(visit: Visit, truth: Truth) -> None:
    """The table can be sorted by the loss, both ways, within the arm that is shown."""
    visit.choose("arm", "0")
    drops = _drops(truth, truth.arms[1])
    losses = sorted((float(one["drop"] or 0.0) for one in drops.values()), reverse=True)
    at = visit.table("table-importance").column(HEADLINE)
    for order in (losses, losses[::-1]):
        visit.page.locator("#table-importance thead th").nth(at).locator("button").click()
        names = [row[0].text for row in visit.table("table-importance").rows]
        expect(sorted(names) == sorted(drops), f"features after sorting: {names}")
        found = [float(drops[name]["drop"] or 0.0) for name in names]
        expect(found == order, f"losses after sorting: {found}, should be {order}")
