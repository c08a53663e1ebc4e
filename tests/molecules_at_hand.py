"""Small molecules put together by rule, so that tests need no data: rings, chains and groups in all combinations."""

from itertools import product

_RINGS = ("c1ccccc1", "c1ccncc1", "C1CCNCC1", "c1ccsc1", "C1CCCC1", "c1ccc2ccccc2c1")
_LINKS = ("", "C", "CC", "O", "CO", "NC(=O)", "C(=O)N", "S(=O)(=O)N")
_ENDS = ("C", "CC", "F", "Cl", "OC", "N#C", "N", "CC(C)", "FC(F)(F)")


def made_by_rule() -> list[str]:
    """Some hundred different molecules."""
    return [f"{end}{ring}{link}{other}" for end, ring, link, other in product(_ENDS, _RINGS, _LINKS, ("CCO", "CC#N"))]
