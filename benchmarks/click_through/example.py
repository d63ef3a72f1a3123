"""A small run folder with everything that the suite looks at: two coupons, a chain with value, two models, a plan."""

from __future__ import annotations

from pathlib import Path

MODELS = """
[models]
lightgbm_s = { n_estimators = 30 }
lightgbm_t = { n_estimators = 30 }
"""


def example_run(folder: Path, *, rows: int = 6_000, seed: int = 5, models: str = MODELS) -> Path:
    """Simulate a campaign below `folder`, run it, and return the run folder."""
    from uplift import run, simulate

    simulate(rows=rows, arms=2, chain=("click", "conversion"), seed=seed).write(folder / "campaign")
    file = folder / "campaign" / "campaign.toml"
    file.write_text(file.read_text(encoding="utf-8") + models, encoding="utf-8")
    return run(file, folder / "run").folder
