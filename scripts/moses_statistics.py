"""Compute again what is shipped of MOSES' test sets: the statistics that generated molecules are compared with.

    python scripts/moses_statistics.py

On two cores it takes about ten minutes. Fragments and scaffolds are written as RDKit writes them, here 2026.3.
"""

from genaisys.molecules.moses import moses
from genaisys.molecules.reference import SHIPPED, save_statistics, statistics


def show(what: str, done: int, total: int) -> None:
    print(f"\r{what}: {done:,} of {total:,}", end="", flush=True)


def main() -> None:
    for split in ("test", "test_scaffolds"):
        save_statistics(statistics(moses(split), split, show), SHIPPED / f"{split}.npz")
        print()


if __name__ == "__main__":
    main()
