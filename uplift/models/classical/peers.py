"""Import a peer library when a model needs it, without its side effects, or say why it cannot be had."""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import ModuleType

from uplift.errors import MissingDependencyError, first_line

INSTALL = {
    "causalml": "pip install 'causalml>=0.17' (there are wheels for CPython 3.11 and 3.12 only)",
    "sklift": "pip install 'scikit-uplift>=0.5.1'",
}


def import_peer(module: str, *, model: str) -> ModuleType:
    """Module of a peer library, such as ``"causalml.inference.meta"``.

    Parameters
    ----------
    model : str
        The model that needs it, for the message.

    Raises
    ------
    MissingDependencyError
        The library is not installed, or breaks when imported.
    """
    package = module.partition(".")[0]
    try:
        with _without_side_effects():
            return importlib.import_module(module)
    except Exception as error:  # a peer that does not fit its own dependencies may raise anything
        reason = (
            "is not installed"
            if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == package
            else f"cannot be imported ({type(error).__name__}: {first_line(error)})"
        )
        raise MissingDependencyError(
            f"model {model!r} needs {package}, which {reason}; install it with {INSTALL[package]}, or choose another model."
        ) from error


@contextmanager
def _without_side_effects() -> Iterator[None]:
    """Keep the user's plot style (causalml sets "fivethirtyeight" at import) and warning filters, and a quiet stderr.

    forestci, which causalml imports, logs an error when duecredit, a citation tool, is not installed; shap, which
    it imports too, warns about matplotlib.
    """
    logger = logging.getLogger("duecredit")
    disabled = logger.disabled
    logger.disabled = True
    try:
        with _plot_style(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = disabled


def _plot_style() -> AbstractContextManager[None]:
    try:
        import matplotlib
    except ImportError:
        return nullcontext()
    return matplotlib.rc_context()
