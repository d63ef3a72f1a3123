"""Who responds, and what drives it: segments, quadrants, importance, dependence."""

from __future__ import annotations

from uplift.insight.assemble import explain
from uplift.insight.content import Insight

__all__ = ["Insight", "explain"]
