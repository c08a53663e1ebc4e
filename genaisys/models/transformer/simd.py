"""The vector instructions of the decoding kernel, as functions that numba can call.

Left to itself a compiler adds a sum up in whatever order it finds quick, and in another order for another number of
rows. Here the order is written down: sixteen lanes, then their sum half by half, whatever the batch. So a row's numbers
do not depend, in any bit, on the rows that are computed beside it, and decoding alone or in a batch gives one text.
LLVM makes of the sixteen lanes what the processor has (AVX-512, AVX2, NEON).
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
LINE = 64  # numbers that a loop takes at a time; rows are padded with zeros to whole lines
_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_INTEGERS = ir.VectorType(ir.IntType(32), LANES)
_BYTES = ir.VectorType(ir.IntType(8), LANES)


def _splat(value: float) -> ir.Constant:
    return ir.Constant(_FLOATS, [value] * LANES)


def _call(builder: Any, name: str, *values: Any) -> Any:
    """A vector function of LLVM, such as fma."""
    kind = ir.FunctionType(_FLOATS, [value.type for value in values])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{LANES}f32"), values)


def _address(context: Any, builder: Any, kind: Any, array: Any, offset: Any) -> Any:
    """Where element ``offset`` of the contiguous ``array`` lies."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [offset])


def _load(builder: Any, address: Any, offset: Any, dtype: Any) -> Any:
    """Sixteen numbers from ``address + offset`` on, as floats."""
    place = builder.gep(address, [offset])
    if dtype == types.int8:
        packed = builder.load(builder.bitcast(place, _BYTES.as_pointer()), align=1)
        return builder.sitofp(builder.sext(packed, _INTEGERS), _FLOATS)
    return builder.load(builder.bitcast(place, _FLOATS.as_pointer()), align=4)


def _sum(builder: Any, vector: Any) -> Any:
    """The sum of the lanes, half by half."""
    width = LANES
    while width > 1:
        width //= 2
        halves = [
            builder.shuffle_vector(
                vector,
                ir.Constant(vector.type, ir.Undefined),
                ir.Constant(ir.VectorType(ir.IntType(32), width), list(range(first, first + width))),
            )
            for first in (0, width)
        ]
        vector = builder.fadd(*halves)
    return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))


def _dots(outputs: int, rows: int) -> Callable[..., Any]:
    """The dot products of ``outputs`` rows of weights with ``rows`` rows of ``x``."""

    @intrinsic
    def dots(
        typing: Any, weights: Any, at: Any, stride: Any, step: Any, x: Any, x_at: Any, x_stride: Any, length: Any
    ) -> Any:
        """Row o of the weights begins at ``at + o * stride``, and its next line is ``step`` further on. Row r of ``x``
        begins at ``x_at + r * x_stride`` and is contiguous. All in elements of the flattened arrays; ``length``, of a
        row, is in whole lines. -> the products as a tuple, in which r runs fastest
        """

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            w_, w_at, w_stride, w_step, x_, x_at_, x_stride_, length_ = arguments
            integer = length_.type

            def beginnings(kind: Any, array: Any, first: Any, apart: Any, count: int) -> list[Any]:
                offsets = [builder.add(first, builder.mul(apart, ir.Constant(integer, n))) for n in range(count)]
                return [_address(context, builder, kind, array, offset) for offset in offsets]

            w_rows = beginnings(signature.args[0], w_, w_at, w_stride, outputs)
            x_rows = beginnings(signature.args[4], x_, x_at_, x_stride_, rows)
            sums = [cgutils.alloca_once_value(builder, _splat(0.0)) for _ in range(outputs * rows)]
            with cgutils.for_range(builder, builder.sdiv(length_, ir.Constant(integer, LINE))) as loop:
                w_line = builder.mul(loop.index, w_step)
                x_line = builder.mul(loop.index, ir.Constant(integer, LINE))
                for lane in range(0, LINE, LANES):
                    w_offset, x_offset = (builder.add(line, ir.Constant(integer, lane)) for line in (w_line, x_line))
                    x_vectors = [_load(builder, row, x_offset, types.float32) for row in x_rows]
                    for o, w_row in enumerate(w_rows):
                        w_vector = _load(builder, w_row, w_offset, signature.args[0].dtype)
                        for r, x_vector in enumerate(x_vectors):
                            total = sums[o * rows + r]
                            builder.store(_call(builder, "fma", w_vector, x_vector, builder.load(total)), total)
            totals = [_sum(builder, builder.load(total)) for total in sums]
            return context.make_tuple(builder, signature.return_type, totals)

        index = types.intp
        kinds = (weights, index, index, index, x, index, index, index)
        return types.UniTuple(types.float32, outputs * rows)(*kinds), generate

    return dots


dots_1x1, dots_4x1, dots_4x2, dots_4x4, dots_8x1, dots_8x2 = map(_dots, (1, 4, 4, 4, 8, 8), (1, 1, 2, 4, 1, 2))


@intrinsic
def add_weighted(
    typing: Any, out: Any, at: Any, values: Any, first: Any, stride: Any, p: Any, start: Any, count: Any
) -> Any:
    """``out[at : at + 16] += sum_j p[start + j] * values[first + j * stride : ... + 16]`` over ``count`` rows j."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        out_, at_, values_, first_, stride_, p_, start_, count_ = arguments
        out_at = builder.bitcast(_address(context, builder, signature.args[0], out_, at_), _FLOATS.as_pointer())
        values_at = _address(context, builder, signature.args[2], values_, first_)
        p_at = _address(context, builder, signature.args[5], p_, start_)
        total = cgutils.alloca_once_value(builder, builder.load(out_at, align=4))
        with cgutils.for_range(builder, count_) as loop:
            row = _load(builder, values_at, builder.mul(loop.index, stride_), types.float32)
            weight = builder.load(builder.gep(p_at, [loop.index]))
            lanes = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), weight, ir.Constant(ir.IntType(32), 0))
            lanes = builder.shuffle_vector(
                lanes, ir.Constant(_FLOATS, ir.Undefined), ir.Constant(_INTEGERS, [0] * LANES)
            )
            builder.store(_call(builder, "fma", row, lanes, builder.load(total)), total)
        builder.store(builder.load(total), out_at, align=4)
        return context.get_dummy_value()

    integer = types.intp
    return types.void(out, integer, values, integer, integer, p, integer, integer), generate


@intrinsic
def exp_and_sum(typing: Any, x: Any, at: Any, count: Any) -> Any:
    """Replace ``x[at : at + count]`` by its exponentials and return their sum; ``count`` is a multiple of 16.

    Values are at most 0, as a softmax has them; the relative error is below 2e-7 down to -87, and below that the result
    is 0.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x_, at_, count_ = arguments
        x_at = _address(context, builder, signature.args[0], x_, at_)
        total = cgutils.alloca_once_value(builder, _splat(0.0))
        zero = ir.Constant(count_.type, 0)
        with cgutils.for_range_slice(builder, zero, count_, ir.Constant(count_.type, LANES), inc=True) as (offset, _):
            place = builder.bitcast(builder.gep(x_at, [offset]), _FLOATS.as_pointer())
            result = _exp(builder, builder.load(place, align=4))
            builder.store(result, place, align=4)
            builder.store(builder.fadd(builder.load(total), result), total)
        return _sum(builder, builder.load(total))

    return types.float32(x, types.intp, types.intp), generate


def _exp(builder: Any, x: Any) -> Any:
    """e^x = 2^n e^r with r in [-ln 2 / 2, ln 2 / 2], where seven terms of Taylor's series are exact in float32."""
    clamped = _call(builder, "maxnum", x, _splat(-87.0))
    n = _call(builder, "rint", builder.fmul(clamped, _splat(1.4426950408889634)))
    r = _call(builder, "fma", n, _splat(-0.693359375), clamped)  # ln 2 in two parts
    r = _call(builder, "fma", n, _splat(2.12194440e-4), r)
    series = _splat(1 / 5040)
    for factorial in (720, 120, 24, 6, 2, 1, 1):
        series = _call(builder, "fma", series, r, _splat(1 / factorial))
    bits = builder.shl(
        builder.add(builder.fptosi(n, _INTEGERS), ir.Constant(_INTEGERS, [127] * LANES)),
        ir.Constant(_INTEGERS, [23] * LANES),
    )
    result = builder.fmul(series, builder.bitcast(bits, _FLOATS))
    result = builder.select(builder.fcmp_ordered("<", x, _splat(-87.0)), _splat(0.0), result)
    return builder.select(builder.fcmp_unordered("uno", x, x), x, result)  # of no number there is none


@intrinsic
def arrive_and_wait(typing: Any, counter: Any, target: Any) -> Any:
    """Add one to ``counter[0]`` and wait until it has reached ``target``: a barrier for threads that run at once."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        counter_, target_ = arguments
        integer = ir.IntType(64)
        at = context.make_array(signature.args[0])(context, builder, counter_).data
        builder.atomic_rmw("add", at, ir.Constant(integer, 1), "seq_cst")
        yields = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.IntType(32), []), "sched_yield")
        spins = cgutils.alloca_once_value(builder, ir.Constant(integer, 0))
        check, spin, give_way, done = map(builder.append_basic_block, ("check", "spin", "give_way", "done"))
        builder.branch(check)
        builder.position_at_end(check)
        arrived = builder.load_atomic(at, "acquire", 8)
        builder.cbranch(builder.icmp_signed(">=", arrived, target_), done, spin)
        builder.position_at_end(spin)
        count = builder.add(builder.load(spins), ir.Constant(integer, 1))
        builder.store(count, spins)
        builder.cbranch(builder.icmp_signed(">", count, ir.Constant(integer, 2000)), give_way, check)
        builder.position_at_end(give_way)  # the others may need this very core
        builder.call(yields, [])
        builder.branch(check)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return types.void(counter, types.int64), generate
