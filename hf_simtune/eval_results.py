"""RunRecord -> ``.eval_results/*.yaml``, in which the Hub keeps a model's scores beside its card."""

from __future__ import annotations

import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

from hf_simtune.card_metadata import COMMIT, hub_data_id
from hf_simtune.publish_files import RESULTS
from hf_simtune.record import Evaluation, RunRecord
from hf_simtune.wording import points

__all__ = ["eval_results"]


def eval_results(record: RunRecord, hub_id: str) -> dict[str, str]:
    """The files by their path, one for each data set of the Hub of which a whole split was scored.

    Rows that chose the checkpoint are left out, and everything of a stand-in: nobody would see there what they are.

    Args:
        record: of the run.
        hub_id: ``ORG/NAME`` of the repository that will hold them.

    Returns:
        Path in the repository -> YAML. https://huggingface.co/docs/hub/eval-results
    """
    if record.base.stand_in_for:
        return {}
    files: dict[str, list[EvalResultEntry]] = {}
    for evaluation in record.evaluations:
        name = hub_data_id(evaluation.source)
        if (
            name
            and evaluation.role != "select"
            and not evaluation.source.part
            and evaluation.tuned.spearman is not None
        ):
            path = f"{RESULTS}{name.rpartition('/')[2]}.yaml"
            files.setdefault(path, []).append(_entry(record, evaluation, name, hub_id))
    return {
        path: yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False) for path, entries in files.items()
    }


def _entry(record: RunRecord, evaluation: Evaluation, name: str, hub_id: str) -> EvalResultEntry:
    source, base, tuned = evaluation.source, evaluation.base, evaluation.tuned
    pinned = source.kind == "hub" and source.revision and COMMIT.fullmatch(source.revision)
    rows = f"split {source.split}, {tuned.n} rows"
    before = f"; the base has {points(base.spearman)}" if base.spearman is not None else ""
    return EvalResultEntry(
        dataset_id=name,
        task_id=source.config or "default",
        value=tuned.spearman,
        dataset_revision=source.revision if pinned else None,
        date=record.created,
        source_url=f"https://huggingface.co/{hub_id}/blob/main/record.json",
        source_name="record.json",
        notes=f"Spearman correlation of {evaluation.similarity} similarities, {rows}{before}",
    )
