"""What the processor at hand is quick at, and how threads share its cores."""

from __future__ import annotations

from threading import Thread

import torch


def fast_dtype() -> torch.dtype:
    """bfloat16 where it is computed by the hardware, else float32: emulated bfloat16 is slower than float32."""
    cpu = torch.cpu.get_capabilities()
    native = torch.backends.mkldnn.is_available() and any(
        cpu.get(feature) for feature in ("avx512_bf16", "amx_bf16", "bf16")
    )
    return torch.bfloat16 if native or torch.cuda.is_available() else torch.float32


def compute_alone(cores: int) -> None:
    """Let this thread compute on one core, and new ones on ``cores`` as before."""
    torch.set_num_threads(1)
    # The setting is this thread's, but new threads begin with what was last set in any: so another one sets it back.
    other = Thread(target=torch.set_num_threads, args=(cores,))
    other.start()
    other.join()
