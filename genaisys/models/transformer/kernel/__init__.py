"""The transformer as compiled functions, which all cores run together.

At one token a step the weights are read once and hardly anything is computed, so the time is that of reading memory,
and whatever else a step costs, such as the hundreds of calls of a framework, counts. Here a step is one call,
``decode``. Each core owns a share of every layer's outputs; between two layers the cores wait for each other at a
barrier, which they reach within microseconds. A prompt has many rows, and each core takes a share of them through a
whole layer: ``project`` before attention, ``attend``, and ``finish`` after it.

Weights are int8 with one scale an output, or floats. What they are multiplied with is, for int8, rounded to int8 as
well, with one scale for every 64 numbers, so that the sums are exact; all else is float32. The rows of a step may be
tokens of different sequences, or consecutive tokens of one. Every row is computed in the same way whatever stands
beside it, in a step or in a prompt; see ``simd.py``.

Read ``network.py``, what the weights look like; ``parts.py``, of which a layer is put together; then ``decoding.py``
and ``reading.py``. The instructions at the bottom are in ``simd.py``.

numba compiles a file once for a machine and keeps the result beside it for as long as that file does not change. What
is compiled in from other files it does not look at, so each file that is compiled carries a hash of them (a test
compares it): what changes one of them changes it.
"""
