"""Eight float32 numbers as one value inside numba functions: what an AVX2 register holds.

numba turns loops into vector instructions by itself, but keeps no sums in registers over two nested loops, which is
what small matrix products live on. With a type for a vector the loops say it themselves. LLVM splits the type in two
where registers hold four numbers, so that it runs, at other speeds, on every processor.

Arrays are contiguous float32 of any shape, positions count in flat order and are not checked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending
from numba.core import cgutils, types
from numba.extending import models, register_model

LANES = 8
VECTOR = ir.VectorType(ir.FloatType(), LANES)
INTEGERS = ir.VectorType(ir.IntType(32), LANES)
EXP2 = (
    1.0,
    0.6931471805599453,
    0.2402265069591007,
    0.05550410866482158,
    0.009618129107628477,
    0.0013333558146428443,
    0.00015403530393381608,
)
"""Coefficients of 2^r, ln(2)^k / k!: relative error 1.2e-7 for \\|r\\| <= 1/2."""
LOWEST = -126.0
"""2^-126 is the smallest float32 with all its digits."""

Code = Callable[[Any, Any, Any, Any], Any]

# The annotations of numba's decorator know nothing of the first parameter, which numba fills in.
intrinsic: Any = extending.intrinsic


class Float32x8(types.Type):  # type: ignore[misc]
    """numba's type of the value.

    Examples
    --------
    >>> Float32x8().name
    'float32x8'
    """

    def __init__(self) -> None:
        super().__init__(name="float32x8")  # type: ignore[no-untyped-call]


float32x8 = Float32x8()


@register_model(Float32x8)
class _Model(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, VECTOR)  # type: ignore[no-untyped-call]


def _is_flat(kind: Any) -> bool:
    return isinstance(kind, types.Array) and kind.dtype == types.float32 and kind.layout == "C"


def _address(context: Any, builder: Any, kind: Any, array: Any, position: Any) -> Any:
    return builder.gep(context.make_array(kind)(context, builder, array).data, [position])


def _spread(builder: Any, number: Any) -> Any:
    nothing = ir.Constant(VECTOR, ir.Undefined)
    first = builder.insert_element(nothing, number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(INTEGERS, [0] * LANES))


def _constant(number: float) -> Any:
    return ir.Constant(VECTOR, [float(np.float32(number))] * LANES)


def _call(builder: Any, name: str, args: Any) -> Any:
    kind = ir.FunctionType(VECTOR, [VECTOR] * len(args))
    called = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v8f32")  # type: ignore[no-untyped-call]
    return builder.call(called, args)


def _larger(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


@intrinsic  # type: ignore[untyped-decorator]
def load(typing: Any, array: Any, position: Any) -> tuple[Any, Code] | None:
    """The eight numbers of `array` from `position` on."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address = _address(context, builder, array, args[0], args[1])
        found = builder.load(builder.bitcast(address, VECTOR.as_pointer()))
        found.align = 4
        return found

    return (float32x8(array, types.intp), code) if _is_flat(array) else None


@intrinsic  # type: ignore[untyped-decorator]
def store(typing: Any, array: Any, position: Any, value: Any) -> tuple[Any, Code] | None:
    """Write the eight numbers of `value` to `array` from `position` on."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address = _address(context, builder, array, args[0], args[1])
        builder.store(args[2], builder.bitcast(address, VECTOR.as_pointer())).align = 4
        return context.get_dummy_value()

    return (types.void(array, types.intp, float32x8), code) if _is_flat(array) else None


@intrinsic  # type: ignore[untyped-decorator]
def read(typing: Any, array: Any, position: Any) -> tuple[Any, Code] | None:
    """The number of `array` at `position`, eight times."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _spread(builder, builder.load(_address(context, builder, array, args[0], args[1])))

    return (float32x8(array, types.intp), code) if _is_flat(array) else None


@intrinsic  # type: ignore[untyped-decorator]
def fill(typing: Any, number: Any) -> tuple[Any, Code]:
    """The float32 `number` eight times."""
    return float32x8(types.float32), lambda context, builder, signature, args: _spread(builder, args[0])


def _elementwise(operation: str) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]
    def apply(typing: Any, a: Any, b: Any) -> tuple[Any, Code]:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return getattr(builder, operation)(*args)

        return float32x8(float32x8, float32x8), code

    return apply


add, sub, mul, div = (_elementwise(operation) for operation in ("fadd", "fsub", "fmul", "fdiv"))
"""``a + b``, ``a - b``, ``a b`` and ``a / b``."""


@intrinsic  # type: ignore[untyped-decorator]
def fma(typing: Any, a: Any, b: Any, c: Any) -> tuple[Any, Code]:
    """``a b + c``, in one instruction where the processor has one."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _call(builder, "fmuladd", args)

    return float32x8(float32x8, float32x8, float32x8), code


@intrinsic  # type: ignore[untyped-decorator]
def larger(typing: Any, a: Any, b: Any) -> tuple[Any, Code]:
    """The larger of each pair; that of `b` where one of them is NaN."""
    return float32x8(float32x8, float32x8), lambda context, builder, signature, args: _larger(builder, *args)


@intrinsic  # type: ignore[untyped-decorator]
def exp2(typing: Any, x: Any) -> tuple[Any, Code]:
    """``2 ** x`` for x <= 127, to a relative 2e-7; 2^-126 for what is less (and for NaN)."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bounded = _larger(builder, args[0], _constant(LOWEST))
        whole = _call(builder, "rint", [bounded])
        rest = builder.fsub(bounded, whole)
        power = _constant(EXP2[-1])
        for coefficient in EXP2[-2::-1]:
            power = _call(builder, "fmuladd", [power, rest, _constant(coefficient)])
        exponent = builder.add(builder.fptosi(whole, INTEGERS), ir.Constant(INTEGERS, [127] * LANES))
        bits = builder.shl(exponent, ir.Constant(INTEGERS, [23] * LANES))
        return builder.fmul(power, builder.bitcast(bits, VECTOR))

    return float32x8(float32x8), code
