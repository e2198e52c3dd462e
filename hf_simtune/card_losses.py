"""What sentence-transformers calls the losses of a run, the outermost first, and the papers that they come from."""

from __future__ import annotations

from hf_simtune.card_text import Markdown, code, escape
from hf_simtune.loss_table import LOSSES
from hf_simtune.record import RunRecord

__all__ = ["PAPERS", "loss_classes", "loss_words", "losses_of", "papers"]

AROUND = {"csr": "CSRLoss", "splade": "SpladeLoss", "sparse": "SpladeLoss"}  # by the kind of model
UNKNOWN = "unknown"  # the loss of a script in which the libraries noted none
# What a card cites, by class: keys of templates/card_citation.md.jinja. A class of two losses is that of the first.
PAPERS: dict[str, tuple[str, ...]] = {"SpladeLoss": ("splade",), "CSRLoss": ("csr",), "MatryoshkaLoss": ("matryoshka",)}
for _entry in LOSSES.values():
    for _name in filter(None, (_entry.dense, _entry.sparse)):
        PAPERS.setdefault(_name, _entry.papers)


def loss_classes(loss: str, kind: str = "dense", *, matryoshka: bool = False) -> tuple[str, ...]:
    """The classes that a loss of ours stands for on a kind of model: a wrapper first, if there is one."""
    if loss not in LOSSES:
        return (loss,)
    entry = LOSSES[loss]
    if kind in AROUND:
        return AROUND[kind], entry.sparse or entry.dense
    return ("MatryoshkaLoss", entry.dense) if matryoshka else (entry.dense,)


def losses_of(record: RunRecord) -> tuple[str, ...]:
    """Every class of loss in a run once, the first data set's before the others'; none where it is not known."""
    names = [record.training.loss, *(further.loss for further in record.training.further)]
    found = (name for loss in names for name in _classes(record, loss))
    return tuple(dict.fromkeys(name for name in found if name != UNKNOWN))


def loss_words(record: RunRecord, loss: str) -> Markdown:
    """One of the run's losses by its classes: ``MatryoshkaLoss`` around ``CoSENTLoss``."""
    if loss == UNKNOWN:
        return Markdown("a loss that is not known")
    names = _classes(record, loss)
    words = Markdown(" around ".join(code(name) for name in names))
    if record.script:
        return escape(loss) if " " in loss else words  # several, each on its own data
    if loss == "simcse":
        return Markdown("{it} on each sentence with itself, under another dropout").fill(it=words)
    return words


def papers(record: RunRecord) -> set[str]:
    """What the card cites beside sentence-transformers' own paper."""
    found = {key for name in losses_of(record) for key in PAPERS.get(name, ())}
    named = (record.training.loss, *(further.loss for further in record.training.further))
    found |= {key for name in named if name in LOSSES for key in LOSSES[name].papers}
    own = [one for one in record.training.soup if one.branch is None]
    found |= {"soup"} if len(own) > 1 else set()
    found |= {"branches"} if len(own) < len(record.training.soup) else set()
    if record.training.soup and (share := record.recipe.get("keep_base")):
        found.add("wise" if share > 0 else "task")
    return found | ({"lora"} if record.training.lora is not None else set())


def _classes(record: RunRecord, loss: str) -> tuple[str, ...]:
    if record.script:
        return tuple(loss.split(" and "))
    return loss_classes(loss, record.tuned.kind, matryoshka=bool(record.recipe.get("matryoshka")))
