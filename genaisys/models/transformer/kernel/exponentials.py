"""Functions of exponentials, sixteen numbers at a time: softmax, and what activations multiply their input with."""

import math
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from genaisys.models.transformer.kernel.simd import (
    FLOATS,
    INTEGERS,
    LANES,
    array,
    call,
    everywhere,
    fold,
    larger,
    load,
    splat,
    store,
    vectors,
)


@intrinsic
def exp_and_sum(typing: Any, x: Any, at: Any, count: Any, scale: Any) -> Any:
    """Replace ``x[at : at + count]`` of the flattened array by ``exp(scale * (x - the largest))``, and return the sum;
    ``count`` is a multiple of 16 and ``scale`` is not negative.

    The relative error is below 2e-7 down to exponents of -87, and below that the result is 0.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x_, at_, count_, scale_ = arguments
        x_at = builder.gep(array(context, builder, signature.args[0], x_)[0], [at_])
        largest = cgutils.alloca_once_value(builder, splat(-math.inf))
        with vectors(builder, count_) as offset:
            vector = load(builder, builder.gep(x_at, [offset]))
            builder.store(call(builder, "maxnum", builder.load(largest), vector), largest)
        peak = everywhere(builder, fold(builder, builder.load(largest), larger(builder)))
        scales, total = everywhere(builder, scale_), cgutils.alloca_once_value(builder, splat(0.0))
        with vectors(builder, count_) as offset:
            place = builder.gep(x_at, [offset])
            result = _exp(builder, builder.fmul(builder.fsub(load(builder, place), peak), scales))
            store(builder, result, place)
            builder.store(builder.fadd(builder.load(total), result), total)
        return fold(builder, builder.load(total), builder.fadd)

    return types.float32(x, types.intp, types.intp, types.float32), generate


@intrinsic
def logistic(typing: Any, x: Any, at: Any, count: Any) -> Any:
    """Replace ``x[at : at + count]`` of the flattened array by ``1 / (1 + exp(-x))``; ``count`` is a multiple of 16."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x_, at_, count_ = arguments
        x_at = builder.gep(array(context, builder, signature.args[0], x_)[0], [at_])
        with vectors(builder, count_) as offset:
            place = builder.gep(x_at, [offset])
            values = load(builder, place)
            small = _exp(builder, builder.fneg(call(builder, "fabs", values)))  # e^-|x|
            above = builder.select(builder.fcmp_ordered("<", values, splat(0.0)), small, splat(1.0))
            store(builder, builder.fdiv(above, builder.fadd(splat(1.0), small)), place)
        return context.get_dummy_value()

    return types.void(x, types.intp, types.intp), generate


@intrinsic
def normal_distribution(typing: Any, x: Any, at: Any, count: Any) -> Any:
    """Replace ``x[at : at + count]`` of the flattened array by the probability that a standard normal variable is
    below it, to 3e-7 (Abramowitz and Stegun 1964, 7.1.26); ``count`` is a multiple of 16.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x_, at_, count_ = arguments
        x_at = builder.gep(array(context, builder, signature.args[0], x_)[0], [at_])
        with vectors(builder, count_) as offset:
            place = builder.gep(x_at, [offset])
            values = load(builder, place)
            size = builder.fmul(call(builder, "fabs", values), splat(math.sqrt(0.5)))
            t = builder.fdiv(splat(1.0), call(builder, "fma", size, splat(0.3275911), splat(1.0)))
            series = splat(1.061405429)
            for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592, 0.0):
                series = call(builder, "fma", series, t, splat(coefficient))
            tail = builder.fmul(series, _exp(builder, builder.fneg(builder.fmul(size, size))))  # 1 - erf(size)
            tail = builder.fmul(tail, splat(0.5))
            below = builder.fcmp_ordered("<", values, splat(0.0))
            store(builder, builder.select(below, tail, builder.fsub(splat(1.0), tail)), place)
        return context.get_dummy_value()

    return types.void(x, types.intp, types.intp), generate


def _exp(builder: Any, x: Any) -> Any:
    """e^x = 2^n e^r with r in [-ln 2 / 2, ln 2 / 2], where seven terms of Taylor's series are exact in float32."""
    clamped = call(builder, "maxnum", x, splat(-87.0))
    n = call(builder, "rint", builder.fmul(clamped, splat(1.4426950408889634)))
    r = call(builder, "fma", n, splat(-0.693359375), clamped)  # ln 2 in two parts
    r = call(builder, "fma", n, splat(2.12194440e-4), r)
    series = splat(1 / 5040)
    for factorial in (720, 120, 24, 6, 2, 1, 1):
        series = call(builder, "fma", series, r, splat(1 / factorial))
    bits = builder.shl(
        builder.add(builder.fptosi(n, INTEGERS), ir.Constant(INTEGERS, [127] * LANES)),
        ir.Constant(INTEGERS, [23] * LANES),
    )
    result = builder.fmul(series, builder.bitcast(bits, FLOATS))
    result = builder.select(builder.fcmp_ordered("<", x, splat(-87.0)), splat(0.0), result)
    return builder.select(builder.fcmp_unordered("uno", x, x), x, result)  # of no number there is none
