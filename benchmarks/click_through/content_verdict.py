"""Group B, the verdict and the checks: what the first screen says is what the files say."""

from __future__ import annotations

import numpy as np

from benchmarks.click_through.agreement import same_interval, same_number, whole
from benchmarks.click_through.browser import Cell, Visit, read_numbers
from benchmarks.click_through.case import expect
from benchmarks.click_through.truth import HEADLINE, Truth

_CARD = """(id) => { const c = document.getElementById(id); return c && {
  label: c.querySelector("dt").innerText.trim(), big: c.querySelector(".big > span:last-child").innerText.trim(),
  value: c.querySelector(".big").dataset.value ?? null, note: c.querySelector(".note").innerText.trim() }; }"""


def verdict_effect(visit: Visit, truth: Truth) -> None:
    stage = truth.decided
    arm = truth.strongest(stage)
    effect = truth.metrics["ate"][stage][arm]
    card = visit.js(_CARD, "key-effect")
    expect(card is not None, "no card of the strongest arm")
    expect(
        truth.arm(arm) in card["label"],
        f"the card names {card['label']!r}, the strongest is {truth.arm(arm)}",
    )
    same_number(Cell(card["big"], "", card["value"]), effect["value"], "card of the effect")
    same_interval(
        Cell(card["big"], card["note"][card["note"].find("(") :].split(")")[0] + ")", None),
        effect["low"],
        effect["high"],
        "card of the effect",
    )
    expect(truth.stage(stage) in card["note"], f"the card says {card['note']!r}, the stage is {stage}")
    expect(whole(truth.test_rows) in card["note"], f"{card['note']!r} without {truth.test_rows} test rows")


def verdict_model(visit: Visit, truth: Truth) -> None:
    card = visit.js(_CARD, "key-model")
    expect(
        card["big"].endswith(truth.deciding_model), f"{card['big']!r}, the run chose {truth.deciding_model}"
    )
    cells = [truth.metric(truth.deciding_model, truth.decided, arm, HEADLINE) for arm in truth.arms[1:]]
    mean = float(np.mean([cell["value"] for cell in cells if cell]))
    shown = read_numbers(card["note"].partition(";")[0])[0]
    expect(shown.agrees(mean), f"Qini {card['note']!r}, the files say {mean:.6g}")
    above = sum(1 for cell in cells if cell and cell["low"] is not None and cell["low"] > 0)
    expect(
        f"{above} of {len(cells)} arm" in card["note"],
        f"{card['note']!r}: {above} of {len(cells)} arms are above",
    )


def verdict_plan(visit: Visit, truth: Truth) -> None:
    assert truth.plan is not None
    card = visit.js(_CARD, "key-expected")
    same_number(Cell(card["big"], "", card["value"]), truth.plan["expected_value"], "expected value")
    numbers = read_numbers(card["note"])
    expect(
        numbers[0].agrees(truth.plan["expected_cost"]),
        f"spend in {card['note']!r}: {truth.plan['expected_cost']:.6g}",
    )
    card = visit.js(_CARD, "key-treated")
    same_number(Cell(card["big"], "", card["value"]), truth.treated, "customers with a coupon")
    held = int(truth.decisions["holdout"].sum())
    expect(f"{whole(held)} held out" in card["note"], f"{card['note']!r}: {held} are held out")
    measured = truth.plan["policy_value"]
    if measured and measured["arms"]:
        card = visit.js(_CARD, "key-measured")
        same_number(Cell(card["big"], "", card["value"]), measured["value"], "measured value")
        ends = read_numbers(card["note"])[:2]
        expect(
            ends[0].agrees(measured["low"]) and ends[1].agrees(measured["high"]),
            f"measured value {card['note']!r}, the file says {measured['low']:.6g} to {measured['high']:.6g}",
        )


def verdict_sentences(visit: Visit, truth: Truth) -> None:
    assert truth.plan is not None
    said = visit.text("#verdict .says, #verdict")
    for what, number in (
        ("budget", truth.plan["budget"]),
        ("customers with a coupon", truth.treated),
        ("customers", len(truth.decisions)),
    ):
        if number is not None:
            expect(f"{number:,.10g}" in said, f"the verdict does not name the {what}, {number:,.10g}")
    measured = truth.plan["policy_value"]
    if measured and measured["arms"]:
        includes = measured["low"] <= 0 <= measured["high"]
        expect(
            ("includes zero" in said) or not includes,
            "the measured interval includes zero, which is not said",
        )
        expect(
            whole(measured["matched_rows"]) in visit.text("#plan"),
            f"{measured['matched_rows']} matched rows are not named",
        )


def _status(entry: dict[str, object]) -> str:
    return str(entry["status"])


def checks_table(visit: Visit, truth: Truth) -> None:
    table = visit.table("table-checks")
    expect(len(table.rows) == len(truth.checks), f"{len(table.rows)} of {len(truth.checks)} checks")
    words = {"pass": ("Pass", "Not tested"), "warn": ("Warning",), "fail": ("Fail",)}
    for entry, row in zip(truth.checks, table.rows, strict=True):
        expect(
            row[0].text.split(" ", 1)[-1] in words[_status(entry)],
            f"{entry['check']}: {row[0].text!r}, it is {entry['status']}",
        )
        expect(
            row[1].small == entry["check"],
            f"check {row[1].small!r} where {entry['check']!r} stands in the file",
        )
        expect(
            row[2].text == " ".join(str(entry["detail"]).split())
            or row[2].text == str(entry["detail"]).strip(),
            f"{entry['check']}: {row[2].text!r}",
        )
    worst = max((_status(entry) for entry in truth.checks), key=("pass", "warn", "fail").index)
    card = visit.js(_CARD, "key-experiment")
    light = {"pass": "Sound", "warn": "Usable, with care", "fail": "Not sound"}[worst]
    expect(card["big"].endswith(light), f"the light says {card['big']!r}, the worst check is {worst}")
    for status in ("warn", "fail"):
        count = sum(_status(entry) == status for entry in truth.checks)
        expect(f"{count} {status}" in card["note"], f"{card['note']!r}: {count} checks {status}")
