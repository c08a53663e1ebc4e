"""The vector instructions of the transformer's kernel, as functions that numba can call.

Left to itself a compiler adds a sum up in whatever order it finds quick, and in another order for another number of
rows. Here the order is written down, the same whatever the batch. So a row's numbers do not depend, in any bit, on the
rows that are computed beside it, and decoding alone or in a batch gives one text. LLVM makes of the vectors what the
processor has (AVX-512, AVX2, NEON).

Products of int8 weights are sums of integers, which are exact in any order. Processors have an instruction for them
(VNNI), which is chosen here; without it the same sums are made of simpler instructions.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import llvmlite.binding
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
LINE = 64  # inputs that share one scale; rows of integers are padded with zeros to whole lines
BLOCK = 2 * LANES  # outputs that are computed together, from one stream of memory
_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_INTEGERS = ir.VectorType(ir.IntType(32), LANES)
_BYTES = ir.VectorType(ir.IntType(8), LANES)
_I32 = ir.IntType(32)


class Rows(NamedTuple):
    """The inputs of a product: floats, or integers for int8 weights.

    Row r is ``scales[r, k // 64] * values[r, k]``; of floats the scales are 1 and are not looked at.
    """

    values: npt.NDArray[np.float32] | npt.NDArray[np.int8]  # [R, K]
    scales: npt.NDArray[np.float32]  # [R, K / 64]
    sums: npt.NDArray[np.int32]  # [R, K / 64], of the integers of a line


def _splat(value: float) -> ir.Constant:
    return ir.Constant(_FLOATS, [value] * LANES)


def _splat_integer(value: int) -> ir.Constant:
    return ir.Constant(_INTEGERS, [value] * LANES)


def _everywhere(builder: Any, scalar: Any) -> Any:
    """A vector of which each lane is ``scalar``."""
    kind = ir.VectorType(scalar.type, LANES)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), ir.Constant(_INTEGERS, [0] * LANES))


def _call(builder: Any, name: str, *values: Any) -> Any:
    """A vector function of LLVM, such as fma."""
    kind = ir.FunctionType(_FLOATS, [value.type for value in values])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{LANES}f32"), values)


def _array(context: Any, builder: Any, kind: Any, value: Any) -> tuple[Any, Any]:
    """Where a contiguous array begins, and how many elements one of its rows has."""
    array = context.make_array(kind)(context, builder, value)
    return array.data, builder.extract_value(array.shape, kind.ndim - 1)


def _load(builder: Any, address: Any) -> Any:
    """Sixteen floats."""
    return builder.load(builder.bitcast(address, _FLOATS.as_pointer()), align=4)


def _store(builder: Any, vector: Any, address: Any) -> None:
    builder.store(vector, builder.bitcast(address, vector.type.as_pointer()), align=1)


def _fold(builder: Any, vector: Any, combine: Callable[[Any, Any], Any]) -> Any:
    """All lanes combined, half by half."""
    width = LANES
    while width > 1:
        width //= 2
        halves = [
            builder.shuffle_vector(
                vector,
                ir.Constant(vector.type, ir.Undefined),
                ir.Constant(ir.VectorType(_I32, width), list(range(first, first + width))),
            )
            for first in (0, width)
        ]
        vector = combine(*halves)
    return builder.extract_element(vector, ir.Constant(_I32, 0))


def _larger(builder: Any) -> Callable[[Any, Any], Any]:
    return lambda a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b)


# -- products of integers


def _best_products() -> str:
    """How this processor adds up products of bytes."""
    features = llvmlite.binding.get_host_cpu_features()
    if features.get("avx512vnni"):
        return "vnni 512"
    return "vnni 256" if features.get("avxvnni") else "plain"


PRODUCTS = _best_products()


def _add_products(builder: Any, total: Any, weights: Any, x: Any) -> Any:
    """``total[n] += sum_i weights[n, i] * x[i]`` of sixteen times four bytes and four bytes, signed all."""
    if PRODUCTS == "plain":
        for byte in range(4):
            up = 24 - 8 * byte
            w = builder.ashr(builder.shl(weights, _splat_integer(up)), _splat_integer(24))
            v = builder.ashr(builder.shl(x, ir.Constant(_I32, up)), ir.Constant(_I32, 24))
            total = builder.add(total, builder.mul(w, _everywhere(builder, v)))
        return total
    x = _everywhere(builder, x)
    weights = builder.xor(weights, _splat_integer(-0x7F7F7F80))  # 0x80 in each byte: + 128, without a sign
    if PRODUCTS == "vnni 512":
        return _dot(builder, 512, total, weights, x)
    halves = []
    for first in (0, LANES // 2):
        lanes = ir.Constant(ir.VectorType(_I32, LANES // 2), list(range(first, first + LANES // 2)))
        parts = (
            builder.shuffle_vector(each, ir.Constant(_INTEGERS, ir.Undefined), lanes) for each in (total, weights, x)
        )
        halves.append(_dot(builder, 256, *parts))
    return builder.shuffle_vector(*halves, ir.Constant(_INTEGERS, list(range(LANES))))


def _dot(builder: Any, bits: int, total: Any, weights: Any, x: Any) -> Any:
    """The instruction: ``weights`` have no sign, ``x`` has one."""
    kind = ir.FunctionType(total.type, [total.type] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.avx512.vpdpbusd.{bits}")
    return builder.call(function, [total, weights, x])


def _first_total(builder: Any, line_sum: Any) -> Any:
    """What sums of products begin with: where 128 is added to the weights, that much too little."""
    if PRODUCTS == "plain":
        return _splat_integer(0)
    return _everywhere(builder, builder.mul(line_sum, ir.Constant(_I32, -128)))


# -- products of matrices


def _multiply(rows: int) -> Callable[..., Any]:
    """A product of a block of weights with ``rows`` rows."""

    @intrinsic
    def multiply(
        typing: Any, weights: Any, at: Any, x: Any, row: Any, column: Any, length: Any, out: Any, out_row: Any,
        out_column: Any,
    ) -> Any:  # fmt: skip
        """``out[out_row + r, out_column + o] += sum_k weights[k, o] * x[row + r, column + k]`` for all outputs o of a
        block. The weights begin at element ``at`` of the flattened array; floats lie there as [length, 32], integers as
        [length / 4, 32, 4]. ``length`` and ``column`` of integers are in whole lines.
        """
        integers = weights.dtype == types.int8

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            weights_, at_, x_, row_, column_, length_, out_, out_row_, out_column_ = arguments
            index = length_.type
            weights_at = builder.gep(_array(context, builder, signature.args[0], weights_)[0], [at_])
            arrays = [
                _array(context, builder, kind, builder.extract_value(x_, n))
                for n, kind in enumerate(signature.args[2].types)
            ]
            numbers = [builder.add(row_, ir.Constant(index, r)) for r in range(rows)]

            def of_rows(array: tuple[Any, Any], first: Any) -> list[Any]:
                data, stride = array
                return [builder.gep(data, [builder.add(builder.mul(n, stride), first)]) for n in numbers]

            x_rows = of_rows(arrays[0], column_)
            data, stride = _array(context, builder, signature.args[6], out_)
            places = []
            for r in range(rows):
                number = builder.mul(builder.add(out_row_, ir.Constant(index, r)), stride)
                for half in (0, LANES):
                    column_at = builder.add(out_column_, ir.Constant(index, half))
                    places.append(builder.gep(data, [builder.add(number, column_at)]))
            totals = [cgutils.alloca_once_value(builder, _load(builder, place)) for place in places]
            if integers:
                line = builder.sdiv(column_, ir.Constant(index, LINE))
                with cgutils.for_range(builder, builder.sdiv(length_, ir.Constant(index, LINE))) as loop:
                    _line_of_integers(
                        builder,
                        loop.index,
                        weights_at,
                        x_rows,
                        of_rows(arrays[1], line),
                        of_rows(arrays[2], line),
                        totals,
                    )
            else:
                with cgutils.for_range(builder, length_) as loop:
                    _line_of_floats(builder, loop.index, weights_at, x_rows, totals)
            for total, place in zip(totals, places, strict=True):
                _store(builder, builder.load(total), place)
            return context.get_dummy_value()

        index = types.intp
        return types.void(weights, index, x, index, index, index, out, index, index), generate

    return multiply


def _line_of_floats(builder: Any, k: Any, weights_at: Any, x_rows: list[Any], totals: list[Any]) -> None:
    """Input ``k`` of all rows."""
    place = builder.gep(weights_at, [builder.mul(k, ir.Constant(k.type, BLOCK))])
    weights = [_load(builder, builder.gep(place, [ir.Constant(k.type, first)])) for first in (0, LANES)]
    for r, x_row in enumerate(x_rows):
        x = _everywhere(builder, builder.load(builder.gep(x_row, [k])))
        for half, w in enumerate(weights):
            total = totals[2 * r + half]
            builder.store(_call(builder, "fma", w, x, builder.load(total)), total)


def _line_of_integers(
    builder: Any, line: Any, weights_at: Any, x_rows: list[Any], scales: list[Any], sums: list[Any], totals: list[Any]
) -> None:
    """64 inputs of all rows."""
    quads = builder.bitcast(
        builder.gep(weights_at, [builder.mul(line, ir.Constant(line.type, LINE * BLOCK))]), _INTEGERS.as_pointer()
    )
    x_at = [
        builder.bitcast(builder.gep(row, [builder.mul(line, ir.Constant(line.type, LINE))]), _I32.as_pointer())
        for row in x_rows
    ]
    exact = [_first_total(builder, builder.load(builder.gep(each, [line]))) for each in sums for _ in (0, 1)]
    for quad in range(LINE // 4):
        weights = [builder.load(builder.gep(quads, [ir.Constant(_I32, 2 * quad + half)]), align=1) for half in (0, 1)]
        for r, at in enumerate(x_at):
            x = builder.load(builder.gep(at, [ir.Constant(_I32, quad)]), align=1)
            for half, w in enumerate(weights):
                exact[2 * r + half] = _add_products(builder, exact[2 * r + half], w, x)
    for n, total in enumerate(totals):
        scale = _everywhere(builder, builder.load(builder.gep(scales[n // 2], [line])))
        builder.store(_call(builder, "fma", builder.sitofp(exact[n], _FLOATS), scale, builder.load(total)), total)


multiply_1, multiply_2, multiply_4, multiply_8 = map(_multiply, (1, 2, 4, 8))


@intrinsic
def put_line(typing: Any, x: Any, at: Any, out: Any, out_at: Any) -> Any:
    """Put the 64 floats from ``x[at]`` on to ``out[out_at]``, both of the flattened arrays: rounded, if they are to be
    integers, to as many steps of the largest of them as a byte has.

    -> the scale by which they are what they were, and the sum of the integers. The scale is no number where one of the
    floats is none or is infinite.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x_, at_, out_, out_at_ = arguments
        x_at = builder.gep(_array(context, builder, signature.args[0], x_)[0], [at_])
        place = builder.gep(_array(context, builder, signature.args[2], out_)[0], [out_at_])
        firsts = [ir.Constant(at_.type, first) for first in range(0, LINE, LANES)]
        vectors = [_load(builder, builder.gep(x_at, [first])) for first in firsts]
        scale, total = ir.Constant(ir.FloatType(), 1.0), ir.Constant(_I32, 0)
        if signature.args[2].dtype == types.int8:
            largest, sound = _splat(1e-30), _splat(0.0)
            for vector in vectors:
                largest = _call(builder, "maxnum", largest, _call(builder, "fabs", vector))
                sound = builder.fadd(sound, builder.fmul(vector, _splat(0.0)))
            peak = _fold(builder, largest, _larger(builder))
            step = builder.fdiv(peak, ir.Constant(ir.FloatType(), 127.0))
            steps = _everywhere(builder, builder.fdiv(ir.Constant(ir.FloatType(), 127.0), peak))
            summed = _splat_integer(0)
            for n, vector in enumerate(vectors):
                number = _rounded(builder, builder.fmul(vector, steps))
                summed = builder.add(summed, number)
                vectors[n] = builder.trunc(number, _BYTES)
            scale, total = builder.fadd(step, _fold(builder, sound, builder.fadd)), _fold(builder, summed, builder.add)
        for first, vector in zip(firsts, vectors, strict=True):
            _store(builder, vector, builder.gep(place, [first]))
        return context.make_tuple(builder, signature.return_type, [scale, total])

    result = types.Tuple((types.float32, types.int32))
    return result(x, types.intp, out, types.intp), generate


def _rounded(builder: Any, floats: Any) -> Any:
    """The nearest integers of floats that are small: those that float32 has in its last digits after so large a sum."""
    large = 1.5 * 2**23
    bits = builder.bitcast(builder.fadd(floats, _splat(large)), _INTEGERS)
    return builder.sub(bits, builder.bitcast(_splat(large), _INTEGERS))


# -- exponentials


@intrinsic
def exp_and_sum(typing: Any, x: Any, at: Any, count: Any, scale: Any) -> Any:
    """Replace ``x[at : at + count]`` of the flattened array by ``exp(scale * (x - the largest))``, and return the sum;
    ``count`` is a multiple of 16 and ``scale`` is not negative.

    The relative error is below 2e-7 down to exponents of -87, and below that the result is 0.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x_, at_, count_, scale_ = arguments
        x_at = builder.gep(_array(context, builder, signature.args[0], x_)[0], [at_])
        largest = cgutils.alloca_once_value(builder, _splat(-math.inf))
        with _vectors(builder, count_) as offset:
            vector = _load(builder, builder.gep(x_at, [offset]))
            builder.store(_call(builder, "maxnum", builder.load(largest), vector), largest)
        peak = _everywhere(builder, _fold(builder, builder.load(largest), _larger(builder)))
        scales, total = _everywhere(builder, scale_), cgutils.alloca_once_value(builder, _splat(0.0))
        with _vectors(builder, count_) as offset:
            place = builder.gep(x_at, [offset])
            result = _exp(builder, builder.fmul(builder.fsub(_load(builder, place), peak), scales))
            _store(builder, result, place)
            builder.store(builder.fadd(builder.load(total), result), total)
        return _fold(builder, builder.load(total), builder.fadd)

    return types.float32(x, types.intp, types.intp, types.float32), generate


@intrinsic
def logistic(typing: Any, x: Any, at: Any, count: Any) -> Any:
    """Replace ``x[at : at + count]`` of the flattened array by ``1 / (1 + exp(-x))``; ``count`` is a multiple of 16."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x_, at_, count_ = arguments
        x_at = builder.gep(_array(context, builder, signature.args[0], x_)[0], [at_])
        with _vectors(builder, count_) as offset:
            place = builder.gep(x_at, [offset])
            values = _load(builder, place)
            small = _exp(builder, builder.fneg(_call(builder, "fabs", values)))  # e^-|x|
            above = builder.select(builder.fcmp_ordered("<", values, _splat(0.0)), small, _splat(1.0))
            _store(builder, builder.fdiv(above, builder.fadd(_splat(1.0), small)), place)
        return context.get_dummy_value()

    return types.void(x, types.intp, types.intp), generate


@intrinsic
def normal_distribution(typing: Any, x: Any, at: Any, count: Any) -> Any:
    """Replace ``x[at : at + count]`` of the flattened array by the probability that a standard normal variable is
    below it, to 3e-7 (Abramowitz and Stegun 1964, 7.1.26); ``count`` is a multiple of 16.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x_, at_, count_ = arguments
        x_at = builder.gep(_array(context, builder, signature.args[0], x_)[0], [at_])
        with _vectors(builder, count_) as offset:
            place = builder.gep(x_at, [offset])
            values = _load(builder, place)
            size = builder.fmul(_call(builder, "fabs", values), _splat(math.sqrt(0.5)))
            t = builder.fdiv(_splat(1.0), _call(builder, "fma", size, _splat(0.3275911), _splat(1.0)))
            series = _splat(1.061405429)
            for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592, 0.0):
                series = _call(builder, "fma", series, t, _splat(coefficient))
            tail = builder.fmul(series, _exp(builder, builder.fneg(builder.fmul(size, size))))  # 1 - erf(size)
            tail = builder.fmul(tail, _splat(0.5))
            below = builder.fcmp_ordered("<", values, _splat(0.0))
            _store(builder, builder.select(below, tail, builder.fsub(_splat(1.0), tail)), place)
        return context.get_dummy_value()

    return types.void(x, types.intp, types.intp), generate


@contextmanager
def _vectors(builder: Any, count: Any) -> Iterator[Any]:
    """A loop over ``count`` numbers, sixteen at a time. -> where the vector begins"""
    zero = ir.Constant(count.type, 0)
    with cgutils.for_range_slice(builder, zero, count, ir.Constant(count.type, LANES), inc=True) as (offset, _):
        yield offset


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
