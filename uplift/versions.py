"""Versions of what made a result."""

from __future__ import annotations


def versions(libraries: tuple[str, ...] = ()) -> dict[str, str]:
    """Versions of uplift and of other installed distributions."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for library in ("uplift", *libraries):
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = "not installed"
    return found
