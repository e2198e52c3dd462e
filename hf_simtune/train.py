"""Builds the trainer: the only place that does. And takes a run up again where it stopped."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.sampler import BatchSamplers
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from hf_simtune.errors import RunError
from hf_simtune.evaluation.sts import SimilarityEvaluator
from hf_simtune.progress import ProgressBar
from hf_simtune.recipe import Recipe
from hf_simtune.record import Checkpoint

__all__ = ["Trainer", "build", "checkpoints", "last_checkpoint", "scored_weights"]

SCORED = "scored.jsonl"
MIXED = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}  # accelerate's names
log = logging.getLogger("hf_simtune")


class Trainer(SentenceTransformerTrainer):
    """SentenceTransformerTrainer without its card: that one shows training rows and asks the Hub; ours does neither."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Add none."""

    checkpoint_seconds = 0.0

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        start = time.perf_counter()
        super()._save_checkpoint(model, trial)
        self.checkpoint_seconds += time.perf_counter() - start

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        self.model.save_pretrained(str(output_dir or self.args.output_dir), create_model_card=False)


class EvaluateEvenly(TrainerCallback):
    """Scores and saves at equal distances, the last time after the last step.

    The trainer's own ``eval_steps`` misses the end when it does not divide the number of steps.
    """

    def __init__(self, evaluations: int) -> None:
        self.evaluations = evaluations

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask for a score and a checkpoint when one is due."""
        done = state.global_step * self.evaluations // state.max_steps
        before = (state.global_step - 1) * self.evaluations // state.max_steps
        if done > before:
            control.should_log = control.should_evaluate = control.should_save = True

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """A sampler without duplicates may run out of batches before the last planned step."""
        last_epoch = state.epoch is not None and math.ceil(state.epoch - 1e-9) >= math.ceil(args.num_train_epochs)
        if last_epoch and state.global_step < state.max_steps:
            control.should_log = control.should_evaluate = control.should_save = True


def build(
    recipe: Recipe,
    loss: nn.Module,
    sampler: BatchSamplers,
    precision: str,
    model: SentenceTransformer,
    rows: Dataset,
    evaluator: SimilarityEvaluator,
    folder: Path,
    base_score: float | None,
) -> Trainer:
    """The trainer of a resolved recipe; ``folder`` takes its checkpoints and logs."""
    columns = [name for name in rows.column_names if name not in ("row", "group", "subset")]
    # The recipe decides, not what `accelerate config` or `accelerate launch --mixed_precision` left behind.
    os.environ["ACCELERATE_MIXED_PRECISION"] = MIXED[precision]
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder.resolve()),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        warmup_steps=recipe.warmup,
        lr_scheduler_type=recipe.scheduler,
        weight_decay=recipe.weight_decay,
        seed=recipe.seed,
        use_cpu=model.device.type == "cpu",
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        batch_sampler=sampler,
        eval_strategy="steps",
        eval_steps=2**30,  # EvaluateEvenly decides
        save_strategy="steps",
        save_steps=2**30,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model=evaluator.best_model_key,
        greater_is_better=True,
        logging_steps=10,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=rows.select_columns(columns),
        loss=loss,
        evaluator=evaluator,
        callbacks=[EvaluateEvenly(recipe.evaluations), ProgressBar(evaluator.best_model_key, base_score)],
    )
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    used = str(trainer.accelerator.mixed_precision)
    if used != MIXED[precision] or trainer.accelerator.native_amp != (used != "no"):
        raise RunError(f"the run is to use {precision}, but the trainer was set up for mixed precision {used!r}")
    return trainer


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint; the trainer writes ``trainer_state.json`` last, so one without it was cut short."""
    whole = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json") if _reads(path)]
    found = max(whole, key=lambda path: int(path.name.rsplit("-", 1)[1]), default=None)
    if found:
        _move_best(found / "trainer_state.json", folder.resolve())
    return found


def _reads(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        log.warning("%s is cut short; its checkpoint is not used", path.parent.name)
        return False
    return True


def _move_best(path: Path, folder: Path) -> None:
    """Point the best checkpoint at where it lies now: the trainer forgets one at a path that is no more."""
    state = json.loads(path.read_text(encoding="utf-8"))
    best = state.get("best_model_checkpoint")
    if best and best != str(folder / Path(best).name):
        state["best_model_checkpoint"] = str(folder / Path(best).name)
        part = path.with_name(path.name + ".part")
        part.write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
        part.replace(path)


def _scored(folder: Path) -> dict[int, dict[str, Any]]:
    """What the evaluator wrote, by step; a step that was scored again after a resume counts once, as the last time."""
    path = folder / SCORED
    if not path.is_file():
        return {}
    lines = {}
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue  # cut short by a kill; that step is scored again
        lines[int(line["step"])] = line
    return lines


def scored_weights(folder: Path, step: int) -> str:
    """The hash of the weights that were scored at a step.

    Raises:
        RunError: nothing was scored at that step.
    """
    lines = _scored(folder)
    if step not in lines:
        raise RunError(f"step {step} was chosen, but no score of it is on record in {SCORED}")
    return str(lines[step]["weights"])


def checkpoints(folder: Path, base: float | None, state: TrainerState) -> tuple[Checkpoint, ...]:
    """The selection scores by step, the untouched base as step 0, with the mean loss in between."""
    logged = [(int(entry["step"]), float(entry["loss"])) for entry in state.log_history if "loss" in entry]
    means = {
        step: (step - before, loss)
        for before, (step, loss) in zip([0, *(at for at, _ in logged)], logged, strict=False)
    }
    found = [Checkpoint(step=0, epoch=0.0, spearman=base)]
    for step, line in sorted(_scored(folder).items()):
        if step > state.global_step:
            continue
        since = [mean for at, mean in means.items() if found[-1].step < at <= step and math.isfinite(mean[1])]
        steps = sum(count for count, _ in since)
        loss = sum(count * value for count, value in since) / steps if steps else None
        found.append(Checkpoint(step=step, epoch=round(line["epoch"], 4), spearman=line["spearman"], loss=loss))
    return tuple(found)
