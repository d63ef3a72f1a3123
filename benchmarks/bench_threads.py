"""ECUP with OpenMP threads that spin briefly and then sleep (our default), only sleep, or only spin; idle and busy."""

from __future__ import annotations

import os
import subprocess
import sys
import time

FIT = """
import time
import uplift
campaign = uplift.simulate(rows=20_000, seed=0).campaign()
begun = time.perf_counter()
uplift.ECUP(max_epochs=4, random_state=0).fit(campaign)
print(time.perf_counter() - begun)
"""
BURN = "import time\nend = time.time() + 600\nwhile time.time() < end: pass"


POLICIES = {
    "brief": {},
    "sleep": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"},
    "spin": {"OMP_WAIT_POLICY": "ACTIVE"},
}


def fit(policy: str) -> float:
    """Seconds of one fit in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", FIT], env={**os.environ, **POLICIES[policy]}, capture_output=True, text=True, check=True
    )  # fmt: skip
    return float(done.stdout)


def main() -> None:
    """Print seconds per fit."""
    for load in ("idle", "busy"):
        others = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(1 if load == "busy" else 0)]
        try:
            time.sleep(0.5)
            for policy in POLICIES:
                seconds = sorted(fit(policy) for _ in range(3))
                print(
                    f"{load:5s} {policy:8s} {seconds[1]:6.1f} s (of three: {seconds[0]:.1f} to {seconds[2]:.1f})",
                    flush=True,
                )
        finally:
            for other in others:
                other.kill()


if __name__ == "__main__":
    main()
