"""What a verification has looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from uplift.errors import OutputError
from uplift.export.limit_use import LimitUse


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: ``status`` is ``pass``, ``fail`` or ``skip``.

    Attributes
    ----------
    name, status, detail : str

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from uplift import allocate_arrays
    >>> plan = allocate_arrays([[3.0], [2.0]], [[1.0], [1.0]], budget=1.0)
    >>> path = plan.export(pathlib.Path(tempfile.mkdtemp()) / "plan.csv")
    >>> from uplift.export import verify_export
    >>> found = verify_export(path)
    >>> found.checks[0].name, found.checks[0].status
    ('files', 'pass')
    """

    name: str
    status: str
    detail: str


@dataclass(frozen=True, repr=False)
class Verification:
    """What reading an export back has shown.

    Attributes
    ----------
    target : str
    manifest : dict
    checks : tuple of Check
    limits : tuple of LimitUse
        Every limit of the plan with what the rows use of it; `checks` has them summed up.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from uplift import allocate_arrays
    >>> plan = allocate_arrays([[3.0], [2.0]], [[1.0], [1.0]], budget=1.0)
    >>> path = plan.export(pathlib.Path(tempfile.mkdtemp()) / "plan.csv")
    >>> from uplift.export import verify_export
    >>> verify_export(path).passed
    True
    """

    target: str
    manifest: dict[str, Any]
    checks: tuple[Check, ...]
    limits: tuple[LimitUse, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return all(check.status != "fail" for check in self.checks)

    def __repr__(self) -> str:
        failed = [check.name for check in self.checks if check.status == "fail"]
        said = f"{', '.join(failed[:5])} failed" if failed else "verified"
        return f"Verification({self.target}: {said}, {len(self.checks)} checks, {len(self.limits)} limits)"

    def raise_if_failed(self) -> Verification:
        """Itself, or the first failure as an error.

        Raises
        ------
        OutputError
            A check failed.
        """
        for check in self.checks:
            if check.status == "fail":
                raise OutputError(f"{self.target} does not verify ({check.name}): {check.detail}.")
        return self
