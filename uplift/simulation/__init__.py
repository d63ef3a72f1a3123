"""Chain campaigns with known effects: a coupon campaign whose every potential outcome is on record."""

from __future__ import annotations

from uplift.simulation.drivers import SEGMENTS
from uplift.simulation.generate import simulate
from uplift.simulation.result import Simulation
from uplift.simulation.settings import Settings, SimulationError

__all__ = ["SEGMENTS", "Settings", "Simulation", "SimulationError", "simulate"]
