"""A barrier for threads that run at once, as short as the work between two of them."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


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
