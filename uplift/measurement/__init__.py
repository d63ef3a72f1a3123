"""After the campaign: what a plan brought, from its holdout, against what it promised.

- :func:`measure`: a plan (or its export) and a log of outcomes in, one :class:`Measurement` out;
- :class:`MeasuredArm`: one arm at one stage; :class:`MeasuredMoney`: the same in money.
"""

from uplift.measurement.measuring import measure
from uplift.measurement.result import ALL_ARMS, MeasuredArm, MeasuredMoney, Measurement

__all__ = ["ALL_ARMS", "MeasuredArm", "MeasuredMoney", "Measurement", "measure"]
