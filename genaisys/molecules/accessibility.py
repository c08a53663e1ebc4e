"""How hard a molecule is to make: the SA score, 1 (easy) to 10 (hard) (Ertl & Schuffenhauer 2009).

The scores of fragments come with RDKit as a pickle of plain lists of numbers. It is never unpickled: its opcodes for
lists, integers and floats are read here, and any other is refused.
"""

from __future__ import annotations

import gzip
import math
import pickletools
from array import array
from functools import cache
from pathlib import Path

import numpy as np
from rdkit import Chem, RDConfig
from rdkit.Chem import rdFingerprintGenerator, rdMolDescriptors

from genaisys.errors import GenaisysError
from genaisys.hub import parts_folder

_UNKNOWN = -4.0  # of a fragment that no molecule had
_LOWEST, _HIGHEST = -4.0, 2.5  # raw scores, which become 10 and 1
_fragments = rdFingerprintGenerator.GetMorganGenerator(radius=2)


class ScoresMissing(GenaisysError):
    """RDKit's table of fragments is not there, or is not what it was."""


def sa_score(mol: Chem.Mol) -> float:
    """The synthetic accessibility of a molecule, 1 to 10, as RDKit's and MOSES' scripts define it."""
    scores = fragment_scores()
    counts = _fragments.GetSparseCountFingerprint(mol).GetNonzeroElements()
    fragments = sum(scores.get(fragment, _UNKNOWN) * count for fragment, count in counts.items()) / sum(counts.values())
    atoms = mol.GetNumAtoms()
    stereo = len(Chem.FindMolChiralCenters(mol, includeUnassigned=True))
    bridges, spiro = rdMolDescriptors.CalcNumBridgeheadAtoms(mol), rdMolDescriptors.CalcNumSpiroAtoms(mol)
    has_macrocycle = any(len(ring) > 8 for ring in mol.GetRingInfo().AtomRings())
    penalties = (
        atoms**1.005
        - atoms
        + math.log10(stereo + 1)
        + math.log10(spiro + 1)
        + math.log10(bridges + 1)
        + (math.log10(2) if has_macrocycle else 0.0)
    )
    symmetry = math.log(atoms / len(counts)) / 2 if atoms > len(counts) else 0.0
    raw = fragments - penalties + symmetry
    score = 11 - (raw - _LOWEST + 1) / (_HIGHEST - _LOWEST) * 9
    if score > 8:  # the end of the scale is bent
        score = 8 + math.log(score - 8)
    return min(max(score, 1.0), 10.0)


@cache
def fragment_scores() -> dict[int, float]:
    """The score of each of 705,292 fragments of PubChem's molecules, by its identifier in Morgan's fingerprint.

    Raises:
        ScoresMissing: RDKit was installed without its contributions.
    """
    cached = parts_folder().with_name("datasets") / "sa-score" / "fragments.npy"
    try:
        table = np.load(cached, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        table = _table(Path(RDConfig.RDContribDir) / "SA_Score" / "fpscores.pkl.gz")
        cached.parent.mkdir(parents=True, exist_ok=True)
        new = cached.with_suffix(".new.npy")
        np.save(new, table)
        new.replace(cached)
    return dict(zip(table["fragment"].tolist(), table["score"].tolist(), strict=True))


def _table(file: Path) -> np.ndarray:
    """From lists of a score and the fragments that have it. -> [fragments] of (fragment, score)"""
    try:
        content = gzip.decompress(file.read_bytes())
    except OSError as error:
        raise ScoresMissing(f"RDKit lacks {file}: install the wheel `rdkit`, which holds it") from error
    fragments, scores = array("Q"), array("d")
    score: float | None = None
    for opcode, value, _ in pickletools.genops(content):
        match opcode.name:
            case "EMPTY_LIST" | "LIST":
                score = None  # the next number is the score of those that follow
            case "BINFLOAT" | "FLOAT":
                score = float(value or 0)
            case "BININT" | "BININT1" | "BININT2" | "LONG" | "LONG1" | "INT":
                if score is None:
                    raise ScoresMissing(f"{file} is not RDKit's table of fragments: a score is missing")
                fragments.append(int(value or 0))
                scores.append(score)
            case "PROTO" | "MARK" | "APPEND" | "APPENDS" | "STOP" | "PUT" | "BINPUT" | "LONG_BINPUT" | "MEMOIZE":
                pass  # the shape of the lists
            case other:
                raise ScoresMissing(f"{file} is not RDKit's table of fragments: it holds {other}")
    return np.array(list(zip(fragments, scores, strict=True)), [("fragment", np.uint64), ("score", np.float64)])
