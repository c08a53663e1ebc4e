"""The proposals as HTML: what was found in numbers and plots, a grid of cards, and one molecule in detail."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median

from genaisys.apps.markup import shown
from genaisys.apps.molecules.bench import SIMILARITY, Bench, Proposal, alikeness
from genaisys.apps.molecules.labels import LABELS, MAIN
from genaisys.apps.molecules.plots import comparison, marked, similarities
from genaisys.molecules.distributions import distributions

HONEST = (
    "Proposals of a model, not tested compounds: nothing is known of their effect, their safety,"
    " or whether they can be made."
)

_EXAMPLES = (
    ("Like a medicine, and easy to make", '{"ranges": {"QED": [0.85, null], "SA": [null, 2.3]}}'),
    ("Built around an indole", '{"start": "c1ccc2[nH]ccc2c1"}'),
    ("Small and water-loving", '{"ranges": {"weight": [null, 280], "logP": [null, 1]}}'),
)

WELCOME = (
    "<div class='welcome'><h1>Make new <em>molecules</em></h1>"
    "<p>Say what they should be like<span class='wide'> on the left</span><span class='narrow'> in the menu</span>,"
    " or begin with an example. Each comes with a drawing, its properties, and the known molecule that is most"
    f" like it.</p><p>{HONEST}</p><div class='chips'>"
    + "".join(f"<button class='chip' data-order='{shown(order)}'>{name}</button>" for name, order in _EXAMPLES)
    + "</div></div>"
)


_UNKNOWN = (
    "<p class='lacking' role='status'>Which are new, and how like known ones they are, cannot be told"
    " until MOSES is fetched: they are not sorted or filtered by it.</p>"
)


def render_progress(bench: Bench, step: str, done: int, total: int) -> str:
    """How far an order is, and what came of it."""
    bar = f"<progress max='{total}' value='{done}'></progress>" if total else ""
    running = bench.phase in ("loading", "drawing")
    problem = f"<p class='error' role='alert'>{shown(bench.problem)}</p>" if bench.problem else ""
    manner = "outcome" if bench.phase == "done" else "working"
    line = f"<p class='{manner}' role='status'>{shown(step)}</p>" if step else ""
    return f"<div class='progress' data-running='{str(running).lower()}'>{line}{bar}{problem}</div>"


def render_summary(bench: Bench, offer_moses: bool) -> str:
    """Validity, novelty and diversity of what is shown, and its properties beside those of known molecules."""
    proposals = bench.shown
    if not bench.proposals:
        return ""
    tiles = [_validity(bench), _novelty(proposals, offer_moses), _diversity(proposals)]
    plots = [_plot(name, [proposal.properties[name] for proposal in proposals]) for name in MAIN] if proposals else []
    hidden = len(bench.proposals) - len(proposals)
    count = f"{len(proposals)} proposal{'s' if len(proposals) != 1 else ''}"
    rest = f"<span>{hidden} hidden by the filter</span>" if hidden else ""
    kinds = "".join(f"<button data-do='save' data-kind='{kind}'>{name}</button>" for kind, name in SAVED_AS.items())
    lacking = _UNKNOWN if offer_moses and bench.arrangement.asks_what_is_known else ""
    return (
        f"<header><h1>{count}</h1>{rest}<span class='save'>Save as {kinds}</span></header>"
        f"<p class='honest'>{HONEST}</p><div class='numbers'>{''.join(tiles)}{''.join(plots)}</div>{lacking}"
    )


def render_grid(bench: Bench) -> str:
    """The cards of what is shown."""
    if bench.phase == "empty":
        return WELCOME
    proposals = bench.shown
    if not proposals and bench.proposals:
        return "<p class='none'>The filter hides all of them.</p>"
    return f"<ul class='grid' data-phase='{bench.phase}'>{''.join(map(_card, proposals))}</ul>"


def render_detail(proposal: Proposal) -> str:
    """One molecule: large, with all its properties, beside the known one that is most like it."""
    from genaisys.molecules.parsing import parse
    from genaisys.molecules.profiles import scaffold

    core = scaffold(parse(proposal.smiles))
    rows = "".join(_property(name, proposal.properties[name]) for name in LABELS)
    smiles = shown(proposal.smiles)
    starts = f"<button data-grow='{smiles}'>Use as start</button>"
    if core is not None and core != proposal.smiles:
        starts += f"<button data-grow='{shown(core)}'>Use its rings as start</button>"
    return (
        "<section class='reader molecule-detail' role='dialog' aria-label='One molecule in detail'><header>"
        f"<div><h2>Proposal {proposal.number}</h2><span class='place'>not a tested compound</span></div>"
        "<button class='close' data-do='close' aria-label='Close'>×</button></header><div class='text' tabindex='0'>"
        f"<div class='large'>{proposal.picture}</div>"
        f"<div class='smiles'><code>{smiles}</code><button data-copy='{smiles}'>Copy</button></div>"
        f"<div class='starts'>{starts}</div><table class='properties'>{rows}</table>{_neighbour(proposal)}"
        "</div></section>"
    )


def _validity(bench: Bench) -> str:
    counts = bench.counts
    share = f"{counts.valid / counts.drawn:.0%}" if counts is not None and counts.drawn else "–"
    return _tile("Valid", share, f"of {counts.drawn:,} texts that were written" if counts is not None else "")


def _novelty(proposals: Sequence[Proposal], offer_moses: bool) -> str:
    if offer_moses:
        return (
            "<div class='tile offer'><b>New?</b><span>To compare with known molecules, MOSES has to be fetched once"
            " (52 MB).</span><button data-do='fetch'>Fetch it</button></div>"
        )
    nearest = [proposal.nearest.similarity for proposal in proposals if proposal.nearest is not None]
    if not nearest or len(nearest) < len(proposals):
        return _tile("New", "…", "being compared with what is known")
    share = sum(not proposal.is_known for proposal in proposals) / len(proposals)
    return _tile("New", f"{share:.0%}", "not among 1.58 million known ones", _likeness("Like the nearest", nearest))


def _diversity(proposals: Sequence[Proposal]) -> str:
    """One minus the mean similarity of two: for many, IntDiv of MOSES, which compares each with itself as well."""
    pairs = alikeness(proposals) if len(proposals) > 1 else []
    share = f"{1 - fmean(pairs):.2f}" if pairs else "–"
    plot = _likeness("Like each other", pairs) if pairs else ""
    return _tile("Different", share, "1: nothing in common; known ones: 0.86", plot)


def _tile(name: str, value: str, explanation: str, plot: str = "") -> str:
    return f"<div class='tile'><b>{name}</b><strong>{value}</strong><span>{explanation}</span>{plot}</div>"


def _likeness(title: str, values: Sequence[float]) -> str:
    return (
        f"<figure><b>{title}</b>{similarities(values)}"
        "<figcaption><span>0%</span><span>100%</span></figcaption></figure>"
    )


def _plot(name: str, values: Sequence[float]) -> str:
    label, distribution = LABELS[name], distributions()[name]
    return (
        f"<figure class='tile'><b>{label.name}</b><strong title='the median'>{label.value(median(values))}</strong>"
        f"{comparison(distribution, values)}<figcaption><span>{label.value(distribution.low)}</span>"
        f"<span>{label.value(distribution.high)}</span></figcaption></figure>"
    )


def _card(proposal: Proposal) -> str:
    facts = "".join(
        f"<span><i>{LABELS[name].name}</i><b>{LABELS[name].value(proposal.properties[name])}</b></span>"
        for name in MAIN
    )
    return (
        f"<li><button class='card' data-do='open' data-number='{proposal.number}'"
        f" aria-label='Proposal {proposal.number}: {shown(proposal.smiles)}'>{proposal.picture}"
        f"<span class='facts'>{facts}</span>{_nearest(proposal)}</button></li>"
    )


def _nearest(proposal: Proposal) -> str:
    if proposal.nearest is None:
        return "<span class='nearest'></span>"
    told = "<b class='flag'>already known</b>" if proposal.is_known else f"<b>{_alike(proposal.nearest.similarity)}</b>"
    return f"<span class='nearest'>{proposal.nearest_picture}<span><i>Nearest known</i>{told}</span></span>"


def _alike(similarity: float) -> str:
    return f"{similarity:.0%} alike"


def _property(name: str, value: float) -> str:
    label = LABELS[name]
    term = f" <span class='term'>{label.term}</span>" if label.term else ""
    return (
        f"<tr><th>{label.name}{term}<small>{label.explanation}</small></th><td>{label.value(value)}</td>"
        f"<td>{marked(distributions()[name], value)}</td></tr>"
    )


def _neighbour(proposal: Proposal) -> str:
    if proposal.nearest is None:
        return ""
    known = shown(proposal.nearest.smiles)
    title = "It is known: the generator has learned from it." if proposal.is_known else (
        f"The nearest known molecule is {_alike(proposal.nearest.similarity)}"
    )  # fmt: skip
    return (
        f"<h3>{title}</h3><div class='pair'><figure>{proposal.picture}<figcaption>Proposal</figcaption></figure>"
        f"<figure>{proposal.nearest_picture}<figcaption>Known, of MOSES</figcaption></figure></div>"
        f"<div class='smiles'><code>{known}</code><button data-copy='{known}'>Copy</button></div>"
        "<p class='note'>Alike is Tanimoto’s similarity of Morgan fingerprints of radius 2: the share of small"
        " groups of atoms that both have. Two known molecules at random have about 14 %.</p>"
    )


SAVED_AS = {"sdf": "SDF", "smi": "SMILES", "csv": "CSV", "png": "PNG"}
SORTS = {name: label.name for name, label in LABELS.items()} | {SIMILARITY: "Likeness to known ones"}


def arrange_form() -> str:
    """Sorting and filtering what is shown."""
    options = "".join(f"<option value='{name}'>{title}</option>" for name, title in SORTS.items())
    return (
        "<form><label>Sort by <select name='sort'><option value=''>as found</option>"
        f"{options}</select></label><select name='order' aria-label='Order'><option value='down'>high to low</option>"
        "<option value='up'>low to high</option></select>"
        f"<label>Only those with <select name='only'><option value=''>anything</option>{options}</select></label>"
        "<span class='bounds'><input name='low' inputmode='decimal' placeholder='from' aria-label='From'>"
        "<input name='high' inputmode='decimal' placeholder='to' aria-label='To'></span>"
        "<label class='check'><input type='checkbox' name='new_only'>only new ones</label></form>"
    )
