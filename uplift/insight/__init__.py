"""Who responds, and what drives it: segments, quadrants, importance, dependence."""

from __future__ import annotations

from uplift.insight.content import Insight
from uplift.insight.explain import explain

__all__ = ["Insight", "explain"]
