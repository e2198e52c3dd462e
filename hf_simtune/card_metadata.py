"""The YAML at the top of a model card: made from a record, and checked without the Hub."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from hf_simtune.card_losses import losses_of
from hf_simtune.card_text import clean
from hf_simtune.hub_names import HUB_ID
from hf_simtune.record import Evaluation, RunRecord, Score, Source

__all__ = ["WELL_KNOWN", "check_metadata", "data_name", "hub_data_id", "kept_base", "metadata"]

KEYS = {
    *("base_model", "base_model_relation", "datasets", "language", "library_name", "license", "license_link"),
    *("license_name", "metrics", "model-index", "pipeline_tag", "tags", "widget"),
}
REQUIRED = ("library_name", "pipeline_tag", "license", "tags")
RELATIONS = ("adapter", "finetune", "merge", "quantized")
PIPELINE_TAGS = ("sentence-similarity", "feature-extraction")
COMMIT = re.compile(r"[0-9a-f]{40}")
# Public data sets that the shipped recipes name: a local copy of one is listed under its name, never with a revision.
WELL_KNOWN = frozenset(
    {"embedding-data/sentence-compression", "sentence-transformers/all-nli", "sentence-transformers/stsb"}
)
# https://huggingface.co/docs/hub/repositories-licenses
_LICENSES = """
    afl-3.0 agpl-3.0 apache-2.0 apple-amlr apple-ascl artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0
    bigscience-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
    cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0
    cdla-permissive-2.0 cdla-sharing-1.0 creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0 etalab-2.0
    eupl-1.1 eupl-1.2 fair-noncommercial-research-license gemma gfdl gpl gpl-2.0 gpl-3.0 intel-research isc lgpl
    lgpl-2.1 lgpl-3.0 lgpl-lr llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 lppl-1.3c mit mpl-2.0 ms-pl ncsa odbl
    odc-by ofl-1.1 openrail openrail++ osl-3.0 other pddl postgresql unknown unlicense wtfpl zlib"""
# ISO 639-1, and the two names that the Hub adds; languages with three letters are checked by form alone.
_LANGUAGES = """
    aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el
    en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja
    jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd
    ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss
    st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu
    code multilingual"""
LICENSES, LANGUAGES = frozenset(_LICENSES.split()), frozenset(_LANGUAGES.split())


def data_name(source: Source) -> str | None:
    """``ORG/NAME`` of rows from the Hub or from a folder that is laid out as there; a claim about neither.

    ``local/NAME`` is how a folder that is not on the Hub is laid out beside those that are.
    """
    known = source.kind in ("hub", "local copy") and HUB_ID.fullmatch(source.name)
    return source.name if known and not source.name.startswith("local/") else None


def hub_data_id(source: Source) -> str | None:
    """``ORG/NAME`` where a card may say that this is a data set of the Hub; else None.

    Any folder can be called ORG/NAME, so a local copy counts only where a shipped recipe names that very data set.
    """
    return data_name(source) if source.kind == "hub" or source.name in WELL_KNOWN else None


def kept_base(record: RunRecord) -> bool:
    """Whether model/ holds the base as it was; of a script's model that is not known."""
    return record.training.best_step == 0 and not record.script


def metadata(record: RunRecord) -> dict[str, Any]:
    """The card's metadata: what the Hub lists, filters and draws. Scores are the tuned model's, on the report rows.

    A stand-in's scores are shown in the card alone: in a table of the Hub nobody would see what they are.
    """
    base, kept = record.base, kept_base(record)
    sparse = record.tuned.kind != "dense"
    value: dict[str, Any] = {}
    if languages := [code for code in base.language if _is_language(code)]:
        value["language"] = languages
    start = record.training.start
    mixed = start is not None and start.license != base.license
    value |= _license("other" if mixed else record.tuned.license or base.license)
    value["library_name"] = "sentence-transformers"
    value["pipeline_tag"] = "feature-extraction" if sparse else "sentence-similarity"  # as in the library's own cards
    value["tags"] = [*_tags(record, sparse)]
    sources = (record.training.source, *(further.source for further in record.training.further))
    trained_on = list(dict.fromkeys(name for source in sources if (name := hub_data_id(source))))
    if trained_on and not kept:
        value["datasets"] = trained_on
    bases = [
        one.hub_id for one in (base, None if kept else start) if one and one.hub_id and HUB_ID.fullmatch(one.hub_id)
    ]
    if bases[:1] == [base.hub_id] and base.hub_id != base.stand_in_for:
        value["base_model"] = bases[0] if len(bases) == 1 else bases  # it has something of each
        if not kept:  # the Hub has no word for a model that stayed as it was
            value["base_model_relation"] = "adapter" if record.saved == "adapter" else "finetune"
    value["metrics"] = [_metric(record.report)]
    if not base.stand_in_for and (result := _result(record.report)):
        value["model-index"] = [{"name": clean(record.name), "results": [result]}]
    return value


def _tags(record: RunRecord, sparse: bool) -> Iterator[str]:
    training = record.training
    yield "sentence-transformers"
    yield from ("sparse-encoder", "sparse") if sparse else ("sentence-similarity", "feature-extraction")
    if record.tuned.kind in ("splade", "csr"):
        yield record.tuned.kind
    yield "hf-simtune"
    if kept_base(record):
        yield "base-unchanged"
    else:
        if rows := training.rows + sum(further.rows for further in training.further):
            yield f"dataset_size:{rows}"
        yield from (f"loss:{clean(name)}" for name in losses_of(record))
        if training.lora is not None:
            yield "lora"
    if record.base.stand_in_for:
        yield "stand-in"
    if record.offline:
        yield "offline"


def _license(name: str | None) -> dict[str, str]:
    if not name or not clean(name):
        return {"license": "unknown"}
    if name.lower() in LICENSES:
        return {"license": name.lower()}
    return {"license": "other", "license_name": clean(name)}


def _metric(evaluation: Evaluation) -> str:
    return f"spearman_{clean(evaluation.similarity)}"


def _result(evaluation: Evaluation) -> dict[str, Any] | None:
    """The model-index entry; None where no whole split of a data set on the Hub was scored, or there is no figure."""
    source, score = evaluation.source, evaluation.tuned
    name = hub_data_id(source)
    if name is None or source.part or not _has_figure(score):
        return None
    title = clean(source.title) + (f" ({source.kind})" if source.kind != "hub" else "")
    data: dict[str, Any] = {"name": title, "type": name, "config": clean(source.config or "default")}
    if source.split:
        data["split"] = clean(source.split)
    if source.kind == "hub" and source.revision and COMMIT.fullmatch(source.revision):
        data["revision"] = source.revision
    data["args"] = {"source": clean(source.kind), "rows": score.n, "fingerprint": clean(source.fingerprint)}
    label = f"Spearman {clean(evaluation.similarity)}"
    return {
        "task": {"type": "sentence-similarity", "name": "Sentence Similarity"},
        "dataset": data,
        "metrics": [{"type": _metric(evaluation), "name": label, "value": score.spearman}],
    }


def _has_figure(score: Score) -> bool:
    return score.spearman is not None and math.isfinite(score.spearman)


def check_metadata(value: dict[str, Any]) -> list[str]:
    """Every problem that the Hub would have with this metadata, each a sentence; nothing is fetched."""
    problems = [f"unknown key {key!r}; known: {', '.join(sorted(KEYS))}" for key in value if key not in KEYS]
    problems += [f"{key} is missing" for key in REQUIRED if key not in value]
    problems += _check_words(value)
    for key in ("datasets", "base_model"):
        ids = value.get(key, [])
        for item in ids if isinstance(ids, list) else [ids]:
            if not _matches(HUB_ID, item):
                problems.append(f"{key}: {item!r} is not a Hub id (ORG/NAME)")
    if "base_model_relation" in value and "base_model" not in value:
        problems.append("base_model_relation stands without base_model")
    for key in ("tags", "metrics"):
        items = value.get(key, [])
        if not isinstance(items, list) or not all(isinstance(item, str) and item.strip() for item in items):
            problems.append(f"{key} is {items!r}: it must be a list of texts")
    if "model-index" in value and not _list(value["model-index"]):
        problems.append("model-index must be a list with at least one model")
    return problems + [problem for model in _list(value.get("model-index")) for problem in _check_model(model)]


def _check_words(value: dict[str, Any]) -> Iterator[str]:
    choices = {"license": LICENSES, "pipeline_tag": PIPELINE_TAGS, "base_model_relation": RELATIONS}
    for key, allowed in choices.items():
        if key in value and not (isinstance(value[key], str) and value[key] in allowed):
            yield f"{key} is {value[key]!r}: the Hub knows {', '.join(sorted(allowed))}"
    if value.get("license") == "other" and not _text(value.get("license_name")):
        yield "license is 'other': license_name must say which"
    if value.get("library_name", "sentence-transformers") != "sentence-transformers":
        yield f"library_name is {value['library_name']!r}: it must be sentence-transformers"
    languages = value.get("language", [])
    for code in languages if isinstance(languages, list) else [languages]:
        if not _is_language(code):
            yield f"language: {code!r} is not an ISO 639 code, such as en"


def _check_model(model: Any) -> Iterator[str]:
    """The problems of one model of the model-index."""
    if not isinstance(model, dict) or not _text(model.get("name")):
        yield f"model-index: {model!r} must be a mapping with a name and results"
        return
    if not _list(model.get("results")):
        yield "model-index: results must be a list with at least one entry"
    for place, result in enumerate(_list(model.get("results"))):
        where = f"model-index result {place}"
        if not isinstance(result, dict) or not all(isinstance(result.get(key), dict) for key in ("task", "dataset")):
            yield f"{where}: task and dataset must be mappings"
            continue
        task = result["task"].get("type")
        if not (isinstance(task, str) and task in PIPELINE_TAGS):
            yield f"{where}: task type {task!r} is not one of {', '.join(PIPELINE_TAGS)}"
        data = result["dataset"]
        if not _matches(HUB_ID, data.get("type")):
            yield f"{where}: dataset type {data.get('type')!r} is not a Hub id (ORG/NAME)"
        if not _text(data.get("name")):
            yield f"{where}: the dataset has no name"
        for key in ("config", "split"):
            if key in data and not _text(data[key]):
                yield f"{where}: dataset {key} is {data[key]!r}: it must be a text"
        if "revision" in data and not _matches(COMMIT, data["revision"]):
            yield f"{where}: dataset revision {data['revision']!r} is not a commit (40 hexadecimal digits)"
        yield from _check_metrics(where, result.get("metrics"))


def _check_metrics(where: str, metrics: Any) -> Iterator[str]:
    if not _list(metrics):
        yield f"{where}: metrics must be a list with at least one entry"
    for metric in _list(metrics):
        if not isinstance(metric, dict) or not _text(metric.get("type")) or not _text(metric.get("name")):
            yield f"{where}: the metric {metric!r} must have a type and a name"
            continue
        number = metric.get("value")
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            yield f"{where}: the value of {metric['type']} is {number!r}: it must be a finite number"


def _is_language(code: object) -> bool:
    return isinstance(code, str) and (code in LANGUAGES or bool(re.fullmatch(r"[a-z]{3}", code)))


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and bool(pattern.fullmatch(value))


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
