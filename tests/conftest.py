"""Shared fixtures. Real data are found through UPLIFT_DATA_HOME; without them those tests skip and say so."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from uplift.campaign import Campaign

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"
if "UPLIFT_DATA_HOME" not in os.environ and _BESIDE.is_dir():
    os.environ["UPLIFT_DATA_HOME"] = str(_BESIDE)


@pytest.fixture(scope="session")
def data_home() -> Path:
    """Folder with the real data sets."""
    home = os.environ.get("UPLIFT_DATA_HOME")
    if not home or not Path(home).is_dir():
        pytest.skip(
            "real data are not here: set UPLIFT_DATA_HOME to the folder that holds hillstrom/hillstrom.parquet"
        )
    return Path(home)


@pytest.fixture(scope="session")
def hillstrom(data_home: Path) -> Campaign:
    """The real Hillstrom campaign: three arms, visit -> conversion -> spend."""
    file = data_home / "hillstrom" / "hillstrom.parquet"
    if not file.is_file():
        pytest.skip(f"{file} is not here: get it with 'uplift data get hillstrom'")
    return Campaign.from_parquet(
        file, treatment="treatment", control=0, chain=["visit", "conversion"], value="spend",
        exclude=["segment"], name="hillstrom",
    )  # fmt: skip


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Small products gain nothing from threads, and wait long for each other on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def toy_frame(rows: int = 4_000, *, seed: int = 0, arms: int = 2) -> pd.DataFrame:
    """A small randomised campaign: click -> buy -> spend, uplift grows with x1 and flips for city c."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "customer": np.arange(rows) + 10_000,
            "x1": rng.normal(size=rows),
            "x2": rng.normal(size=rows),
            "city": rng.choice(["a", "b", "c"], rows),
            "member": rng.random(rows) < 0.4,
        }
    )
    arm = rng.integers(0, arms + 1, rows)
    frame["coupon"] = np.array(["none", *(f"coupon_{5 * k}" for k in range(1, arms + 1))])[arm]
    lift = arm * np.where(frame["city"] == "c", -0.05, 0.1) * (1 + np.tanh(frame["x1"]))
    click = rng.random(rows) < np.clip(0.3 + 0.05 * frame["x2"] + lift, 0.01, 0.99)
    buy = click & (rng.random(rows) < 0.4)
    frame["click"] = click.astype(int)
    frame["buy"] = buy.astype(int)
    frame["spend"] = np.where(buy, rng.lognormal(3, 0.5, rows), 0.0)
    return frame


ROLES = {
    "unit": "customer", "treatment": "coupon", "control": "none", "chain": ["click", "buy"], "value": "spend",
}  # fmt: skip


@pytest.fixture(scope="session")
def toy() -> Campaign:
    """The toy campaign with two coupons."""
    return Campaign.from_frame(toy_frame(), **ROLES)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server of the tests' own; skips where none is installed."""
    from postgres_server import postgres

    with postgres() as url:
        yield url
