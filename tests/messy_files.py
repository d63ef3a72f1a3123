"""Data files as people have them: five randomised campaigns, each exported in its own bad way."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd


def _base(rows: int, seed: int) -> pd.DataFrame:
    """A randomised campaign with an effect: arm, click, buy, spend, and traits."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "arm": rng.integers(0, 3, rows),
            "age": rng.integers(18, 80, rows).astype(float),
            "turnover": np.round(rng.lognormal(6.5, 1.2, rows), 2),
            "city": rng.choice(["Köln", "München", "Bern", "Graz"], rows),
            "member": rng.random(rows) < 0.4,
        }
    )
    click = rng.random(rows) < 0.25 + 0.08 * frame["arm"] + 0.1 * frame["member"]
    buy = click & (rng.random(rows) < 0.35)
    frame["click"], frame["buy"] = click, buy
    frame["spend"] = np.where(buy, np.round(rng.lognormal(4, 1, rows), 2), 0.0)
    frame["day"] = pd.Timestamp("2025-03-01") + pd.to_timedelta(rng.integers(0, 20, rows), unit="D")
    frame["late"] = frame["day"] + pd.to_timedelta(rng.integers(1, 9, rows), unit="D")
    frame.loc[rng.random(rows) < 0.05, "age"] = np.nan
    return frame


def german(folder: Path, rows: int = 4_000) -> Path:
    """Semicolons, cp1252, decimal commas, dots for thousands, ja/nein, dd.mm.yyyy, an empty cell for no coupon."""
    frame = _base(rows, 1)

    def money(x: float) -> str:
        return f"{x:,.2f}".replace(",", " ").replace(".", ",").replace(" ", ".")

    out = pd.DataFrame(
        {
            "Kundennr": [f"{100_000 + i:08d}" for i in range(rows)],
            "Versanddatum": frame["day"].dt.strftime("%d.%m.%Y"),
            "Gutschein": np.array(["", "5 €", "10 €"])[frame["arm"]],
            "Ort": frame["city"],
            "Alter": frame["age"],
            "Umsatz Vorjahr": [money(x) for x in frame["turnover"]],
            "Stammkunde": np.where(frame["member"], "ja", "nein"),
            "Geöffnet": np.where(frame["click"], "ja", "nein"),
            "Gekauft": np.where(frame["buy"], "ja", "nein"),
            "Umsatz": [money(x) for x in frame["spend"]],
        }
    )
    file = folder / "Aktion März.csv"
    file.write_bytes(out.to_csv(sep=";", index=False, lineterminator="\r\n").encode("cp1252"))
    return file


def spreadsheet(folder: Path, rows: int = 4_000) -> Path:
    """Title lines, a byte-order mark, an index column, dollars, m/d/y, events as times, e-mail addresses."""
    frame = _base(rows, 2)
    stamp = frame["late"].dt.strftime("%m/%d/%Y %H:%M")
    out = pd.DataFrame(
        {
            "": np.arange(rows),
            "customerID": np.arange(rows) + 5_000_001,
            "emailAddress": [f"user{i}@example.com" for i in range(rows)],
            "testGroup": np.array(["Control", "Variant A", "Variant B"])[frame["arm"]],
            "sendDate": frame["day"].dt.strftime("%m/%d/%Y"),
            "Age": frame["age"].map(lambda x: "unknown" if np.isnan(x) else f"{x:.0f}"),
            "avg. basket (last 12m)": frame["turnover"].map("${:,.2f}".format),
            "loyaltyMember": np.where(frame["member"], "Y", "N"),
            "clickedAt": np.where(frame["click"], stamp, ""),
            "purchasedAt": np.where(frame["buy"], stamp, ""),
            "order value": np.where(frame["buy"], frame["spend"].map("${:,.2f}".format), ""),
            "country": "US",
        }
    )
    file = folder / "export (3).csv"
    text = "Campaign performance report\nGenerated 2025-04-02;do not share\n\n" + out.to_csv(index=False)
    file.write_bytes(b"\xef\xbb\xbf" + text.encode())
    return file


def warehouse(folder: Path, rows: int = 4_000) -> Path:
    """Parquet: control is NaN, booleans, a copy of the treatment, a date after the campaign, a constant, repeats."""
    frame = _base(rows, 3)
    out = pd.DataFrame(
        {
            "user_id": np.random.default_rng(9).integers(0, rows // 2, rows) * 7919,
            "dt": frame["day"],
            "coupon_type": frame["arm"].map({0: np.nan, 1: 1.0, 2: 2.0}),
            "got_any_coupon": frame["arm"] > 0,
            "age": frame["age"],
            "city": frame["city"].astype("category"),
            "ltv": frame["turnover"],
            "is_member": frame["member"],
            "clicked": frame["click"],
            "converted": frame["buy"],
            "gmv": frame["spend"].where(frame["buy"]),
            "last_order_date": frame["late"],
            "etl_version": "v2",
        }
    )
    file = folder / "part-0001.snappy.parquet"
    out.to_parquet(file)
    return file


def survey(folder: Path, rows: int = 4_000) -> Path:
    """Gzipped tabs: arms in several spellings, some without, Y/N with gaps, mixed types, ids with leading zeros."""
    frame = _base(rows, 4)
    rng = np.random.default_rng(5)
    true = pd.Series(np.array(["control", "sms", "push"], object)[frame["arm"]])
    style = rng.integers(0, 3, rows)
    spelled = np.where(style == 0, true, np.where(style == 1, true.str.upper(), true + " "))
    out = pd.DataFrame(
        {
            "member no": [f"{i:06d}" for i in range(rows)],
            "Treatment Group": np.where(rng.random(rows) < 0.002, "", spelled),
            "AGE": frame["age"].map(lambda x: "n/a" if np.isnan(x) else f"{x:.0f}"),
            "score": np.where(rng.random(rows) < 0.01, "error", frame["turnover"].round(1).astype(str)),
            "town": frame["city"],
            "visit": np.where(frame["click"], "Y", "N"),
            "purchase": np.where(frame["buy"], "Y", np.where(rng.random(rows) < 0.3, "", "N")),
        }
    )
    file = folder / "survey.tsv.gz"
    file.write_bytes(gzip.compress(out.to_csv(sep="\t", index=False).encode()))
    return file


def legacy(folder: Path, rows: int = 4_000) -> Path:
    """Bars, UTF-16, a column name twice, lines too short, no 0/1 outcome but revenue, arms A and B."""
    frame = _base(rows, 6)
    lines = ["CLIENT|VARIANT|REGION|REGION|TENURE|REVENUE"]
    for i in range(rows):
        arm = "AB"[int(frame["arm"][i] > 0)]
        lines.append(
            f"C{i:05d}|{arm}|{frame['city'][i]}|{i % 5}|{int(frame['turnover'][i])}|{frame['spend'][i]:.2f}"
        )
        if i % 1000 == 7:
            lines.append("C99999|A")
    file = folder / "LEGACY.CSV"
    file.write_bytes("\n".join(lines).encode("utf-16"))
    return file


def events(folder: Path, rows: int = 4_000) -> Path:
    """Dates as whole numbers, counted purchases, TRUE/FALSE, hashes as ids, money with another sign, odd ages."""
    frame = _base(rows, 8)
    rng = np.random.default_rng(8)
    out = pd.DataFrame(
        {
            "pseudo_user": [f"{value:016x}" for value in rng.integers(0, 2**62, rows)],
            "exposure_date": frame["day"].dt.strftime("%Y%m%d"),
            "exp_variant": np.array(["baseline", "banner", "banner+push"])[frame["arm"]],
            "is_member": np.where(frame["member"], "TRUE", "FALSE"),
            "lifetime value": [f"CHF {x:,.0f}".replace(",", "'") for x in frame["turnover"]],
            "age_bucket": (frame["age"] // 10 * 10).map(lambda x: "?" if np.isnan(x) else f"{x:.0f}+"),
            "purchases": np.where(frame["buy"], rng.integers(1, 4, rows), 0),
            "revenue": np.where(frame["buy"], frame["spend"], 0.0),
            "campaign_tag": "spring",
        }
    )
    file = folder / "events.csv"
    out.to_csv(file, index=False)
    return file


ALL = {maker.__name__: maker for maker in (german, spreadsheet, warehouse, survey, legacy, events)}
