"""Eligibility conditions: ``"age >= 18 and region in ['north', 'east']"``, evaluated on columns without running code.

The grammar is a piece of Python's: names are columns, literals are numbers, text and true/false; ``== != < <= > >=``,
``in``, ``not in``, ``and``, ``or``, ``not`` and brackets. Nothing else (no calls, no arithmetic).
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uplift.errors import AllocationError, did_you_mean

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: pc.equal, ast.NotEq: pc.not_equal, ast.Lt: pc.less, ast.LtE: pc.less_equal,
    ast.Gt: pc.greater, ast.GtE: pc.greater_equal,
}  # fmt: skip
_SWAPPED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.Eq, ast.NotEq: ast.NotEq, ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE,
}  # fmt: skip


def evaluate(condition: str, columns: Mapping[str, Any]) -> np.ndarray:
    """Which units fulfil a condition.

    Parameters
    ----------
    condition : str
    columns : mapping of str to array-like [unit]
        A pyarrow Table's columns by name, or a frame, or a dict.

    Returns
    -------
    ndarray of bool [unit]
        False where a value that is compared is missing.

    Raises
    ------
    AllocationError
        The condition is not understood, names no column, or compares what cannot be compared.

    Examples
    --------
    >>> evaluate("age >= 18 and not region == 'north'", {"age": [17, 20, 30], "region": ["a", "north", "b"]}).tolist()
    [False, False, True]
    """
    tree = _parse(condition)
    found = _value(tree, columns, condition)
    return np.asarray(pc.fill_null(found, False).to_numpy(zero_copy_only=False), np.bool_)


def names_in(condition: str) -> set[str]:
    """Columns that a condition reads."""
    return {node.id for node in ast.walk(_parse(condition)) if isinstance(node, ast.Name)} - {"true", "false"}


def column(columns: Mapping[str, Any] | None, name: str, what: str) -> pa.Array:
    """One column as an Arrow array.

    Raises
    ------
    AllocationError
        There are no columns, or none of this name.
    """
    if columns is None:
        raise AllocationError(
            f"{what} reads the column {name!r}: give columns=..., a table with one row per unit."
        )
    if not (hasattr(columns, "column_names") or hasattr(columns, "columns") or isinstance(columns, Mapping)):
        raise AllocationError(
            f"columns is a {type(columns).__name__}: give a mapping of names to columns, a table or a frame."
        )
    known = list(getattr(columns, "column_names", columns))
    if name not in known:
        raise AllocationError(
            f"{what} reads the column {name!r}, which is not there: {did_you_mean(name, known)}"
        )
    data = columns[name]
    if isinstance(data, pa.ChunkedArray):
        data = pa.concat_arrays(data.unify_dictionaries().chunks or [pa.array([], data.type)])
    array = data if isinstance(data, pa.Array) else pa.array(data, from_pandas=True)
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _parse(condition: str) -> ast.expr:
    try:
        return ast.parse(condition.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        raise _unclear(condition) from None


def _unclear(condition: str) -> AllocationError:
    return AllocationError(
        f"The condition {condition!r} is not understood: write for example \"age >= 18 and region in ['north', 'east']\"."
    )


def _value(node: ast.expr, columns: Mapping[str, Any], condition: str) -> Any:
    if isinstance(node, ast.BoolOp):
        parts = [_value(part, columns, condition) for part in node.values]
        combine = pc.and_kleene if isinstance(node.op, ast.And) else pc.or_kleene
        result = parts[0]
        for part in parts[1:]:
            result = combine(result, part)
        return result
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return pc.invert(_value(node.operand, columns, condition))
    if isinstance(node, ast.Name):
        found = column(columns, node.id, f"The condition {condition!r}")
        if not pa.types.is_boolean(found.type):
            raise AllocationError(
                f"The condition {condition!r}: column {node.id!r} is no true/false, compare it with something."
            )
        return found
    if isinstance(node, ast.Compare):
        result, left = None, node.left
        for op, right in zip(node.ops, node.comparators, strict=True):
            part = _compare(left, op, right, columns, condition)
            result = part if result is None else pc.and_kleene(result, part)
            left = right
        return result
    raise _unclear(condition)


def _compare(
    left: ast.expr, op: ast.cmpop, right: ast.expr, columns: Mapping[str, Any], condition: str
) -> Any:
    if isinstance(right, ast.Name) and not isinstance(left, ast.Name) and type(op) in _SWAPPED:
        left, right, op = right, left, _SWAPPED[type(op)]()
    if not isinstance(left, ast.Name):
        raise _unclear(condition)
    data = column(columns, left.id, f"The condition {condition!r}")
    if isinstance(right, ast.Name) and right.id not in ("true", "false"):
        other = column(columns, right.id, f"The condition {condition!r}")
    else:
        try:
            other = right.id == "true" if isinstance(right, ast.Name) else ast.literal_eval(right)
        except (ValueError, SyntaxError):
            raise _unclear(condition) from None
    try:
        if isinstance(op, ast.In | ast.NotIn):
            inside = pc.is_in(data, value_set=pa.array(list(other)).cast(data.type))
            inside = pc.if_else(pc.is_valid(data), inside, pa.scalar(None, pa.bool_()))
            return inside if isinstance(op, ast.In) else pc.invert(inside)
        return _COMPARE[type(op)](data, other)
    except (pa.ArrowException, KeyError, TypeError):
        raise AllocationError(
            f"The condition {condition!r} compares column {left.id!r} ({data.type}) with {ast.unparse(right)}, which it cannot."
        ) from None
