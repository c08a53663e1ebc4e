"""Counts how the properties of MOSES' test set are spread, into genaisys/molecules/distributions.json: ten minutes."""

import json
import math
from pathlib import Path

import numpy as np

from genaisys.molecules.moses import moses
from genaisys.molecules.properties import PROPERTIES, properties_of

FILE = Path(__file__).parents[1] / "genaisys" / "molecules" / "distributions.json"
STEPS = {"logP": 0.1, "QED": 0.01, "SA": 0.1, "weight": 1.0, "TPSA": 1.0, "rings": 1.0}
BINS = 36


def main() -> None:
    smiles = moses("test")
    found = [each for each in properties_of(smiles, lambda done: print(f"\r{done:,}", end="")) if each is not None]
    table = {}
    for name in PROPERTIES:
        values, step = np.array([each[name] for each in found]), STEPS[name]
        low, high = np.quantile(values, [0.0005, 0.9995])
        ends = {"least": round(float(values.min()), 4), "most": round(float(values.max()), 4)}
        low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
        if step == 1 and high - low < BINS:  # a bin for each whole number, in its middle
            low, high, bins = low - 0.5, high + 0.5, round(high - low) + 1
        else:
            bins = BINS
        counts, _ = np.histogram(values.clip(low, high), bins, (low, high))
        table[name] = {"low": round(low, 4), "high": round(high, 4), **ends, "step": step, "counts": counts.tolist()}
    FILE.write_text("{\n" + ",\n".join(f' "{name}": {json.dumps(row)}' for name, row in table.items()) + "\n}\n")
    print(f"\r{len(found):,} molecules")


if __name__ == "__main__":
    main()
