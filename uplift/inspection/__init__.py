"""A first look at an unknown data file: which column plays which part, and what must be mended before it can."""

from __future__ import annotations

from uplift.inspection.guess import Guess, Proposal, guess_roles
from uplift.inspection.propose import Inspection, inspect

__all__ = ["Guess", "Inspection", "Proposal", "guess_roles", "inspect"]
