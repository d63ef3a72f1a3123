"""What to type next: the commands that give this run again, and the lines that a campaign file without a plan lacks."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from uplift.arms import VALUE_STAGE
from uplift.campaign import Campaign

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
EXAMPLE_ARMS = 6


def commands(run: Mapping[str, Any], *, failed: bool) -> str:
    """Shell commands that make the run and its report again; empty when the run has no configuration.

    Parameters
    ----------
    run : mapping
        As in ``run.json``.
    failed : bool
        Whether a check failed: then only ``--force`` goes on.

    Examples
    --------
    >>> print(commands({"config": {"campaign": {}}, "seed": 7}, failed=False).splitlines()[1])
    uplift run CAMPAIGN.toml --out NEW_FOLDER --seed 7
    """
    if not run.get("config"):
        return ""
    seed = f" --seed {run['seed']}" if isinstance(run.get("seed"), int) else ""
    force = " --force" if failed else ""
    return (
        f"# from the data to this report\nuplift run CAMPAIGN.toml --out NEW_FOLDER{seed}{force}\n"
        "# this report alone, from the run folder\nuplift report RUN_FOLDER"
    )


def missing_decision(campaign: Campaign, run: Mapping[str, Any], stage: str) -> tuple[str, str]:
    """Why there is no plan, and the lines of the campaign file that would give one.

    Returns
    -------
    sentence, toml : str
    """
    config = run.get("config")
    why = (
        "This run has no plan, because its campaign file has no [decide] section."
        if isinstance(config, Mapping) and not config.get("decide")
        else "This report has no plan."
    )
    lines = ["[decide]", f"stage = {_text(stage)}", "budget = 1000.0   # money to spend at most"]
    if stage != VALUE_STAGE:
        lines.insert(2, f"margin = 20.0     # money that one more {_line(stage)} brings")
    on = campaign.chain[-1]
    bare = [arm.name for arm in campaign.arms[1:] if arm.cost is None]
    for name in bare[:EXAMPLE_ARMS]:
        key = name if _BARE_KEY.fullmatch(name) else _text(name)
        lines += ["", f"[arms.{key}]", f"cost = {{ on = {_text(on)}, amount = 5.0 }}"]
    if bare:
        lines.append(f'# paid at {_line(on)}; on = "send" is paid for every customer who gets the arm')
    if len(bare) > EXAMPLE_ARMS:
        lines.append(f"# and so on for the other {len(bare) - EXAMPLE_ARMS} arms")
    wanted = ["a budget", *(["a margin"] if stage != VALUE_STAGE else [])]
    wanted += [f"a cost for {'every arm' if len(bare) > 1 else 'the arm'}"] if bare else []
    what = " and ".join(filter(None, (", ".join(wanted[:-1]), wanted[-1])))
    return (
        f"{why} Add {what} to the campaign file, with your own numbers, and run it again "
        "(in Python: pass an allocation to report).",
        "\n".join(lines),
    )


def _text(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def _line(name: str) -> str:
    return " ".join(name.split())
