"""Watch a model while it is trained: notice when its embeddings collapse, and stop and go back if asked to."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import math
import random
import time
from collections.abc import Sequence
from itertools import chain
from typing import Any, cast

import numpy as np
import torch
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, broadcast_object_list
from numpy.typing import NDArray
from sentence_transformers import SparseEncoder
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_simtune.divergence import StepWatch
from hf_simtune.errors import RequestError, RunError
from hf_simtune.evaluation.health import finding_sentence, findings, harm, measure
from hf_simtune.evaluation.sts import Model
from hf_simtune.evaluation.undisturbed import undisturbed
from hf_simtune.record import Health

__all__ = ["FEWEST", "CollapseGuard"]

log = logging.getLogger("hf_simtune")

FEWEST, MOST = 20, 512  # distinct sentences of a probe
KEY = "hf_simtune.guard"  # of the history in a checkpoint's trainer_state.json
SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)


class CollapseGuard(TrainerCallback):
    """For ``SentenceTransformerTrainer(callbacks=[CollapseGuard(sentences)])``, or a SparseEncoderTrainer.

    Encodes the same sentences again and again during training and looks at how the vectors lie: before the first step
    (or where a run is taken up again), at every evaluation, ``checks`` times at even distances if the trainer's own
    settings have no evaluation before the end, and after the last step. No step is measured twice. What counts as
    collapsed is said at ``findings``; what is found is logged as a warning, once each.

    Nothing else is changed: random states, buffers and training flags are put back, and a run gives the same weights,
    bit by bit, as without the guard. Its history goes into each checkpoint's ``trainer_state.json``, without the
    sentences, and a resumed run is compared with the same base again.

    With ``on_collapse="stop"`` the first collapse ends the training, the step is not saved, and the last healthy
    weights are in the model when ``train()`` returns: those of the best checkpoint if the trainer restored one and
    they are healthy, else the guard's own copy. It holds on the CPU what can be trained, and the buffers; a parameter
    that is unfrozen during training is in it from the next measurement on. Put the guard behind callbacks that ask
    for checkpoints.

    Args:
        sentences: at least 20 different ones, none empty, at best like those that the model is for. Of more than 512,
            so many are drawn.
        on_collapse: "warn" or "stop".
        checks: how often to look where the trainer does not evaluate.
        seed: of the draw.

    Attributes:
        history: every measurement, the first one of the base.
        restored_step: where the guard put back its own copy, the step that it is from.
        seconds: spent in measuring.

    Raises:
        RequestError: wrong arguments, all of them at once; at the beginning of training, a model that does not
            embed sentences, or one that is split over processes (FSDP, DeepSpeed).
        RunError: a run that is to stop at a collapse is resumed from a checkpoint that has collapsed.
    """

    def __init__(self, sentences: Sequence[str], *, on_collapse: str = "warn", checks: int = 10, seed: int = 0) -> None:
        distinct = _checked(sentences, on_collapse, checks, seed)
        if len(distinct) > MOST:
            distinct = [distinct[i] for i in sorted(random.Random(seed).sample(range(len(distinct)), MOST))]
        self.sentences = tuple(distinct)
        self.on_collapse = on_collapse
        self.checks = checks
        self.base: Health | None = None  # where training does not begin at the base: what that is like
        self.history: list[Health] = []
        self.restored_step: int | None = None
        self.seconds = 0.0
        self.steps = StepWatch()
        self._probe = hashlib.sha256("\0".join(distinct).encode("utf-8", "surrogatepass")).hexdigest()
        self._training = False
        self._told: set[str] = set()
        self._healthy: tuple[int, dict[str, Tensor]] | None = None  # the step, and its weights

    @property
    def collapsed(self) -> Health | None:
        """The first measurement that is unhealthy, and the base was not."""
        return next((health for health in self.history if harm(health, self.history[0])), None)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure the base, or take up the history of the run that is resumed."""
        model = _embedding(kwargs["model"])
        self.steps.on_train_begin(args, state, control, **kwargs)
        self.restored_step, self.seconds, self._healthy, self._training = None, 0.0, None, True
        taken_up = self._resumed(state)
        self.history = taken_up or ([self.base] if self.base else [])
        self._told = {name for health in self.history for name in health.findings}
        if not taken_up and (not self.history or self.history[-1].step != state.global_step):
            self._look(model, state)
        present = self.history[-1]
        if present.step != state.global_step and self.on_collapse == "stop":
            # Between two measurements, as where a run was stopped by hand: the uninterrupted one has none here.
            present = self.measured(model, state.global_step, state.epoch)
        found = harm(present, self.history[0])
        if self.on_collapse == "stop" and found:
            raise RunError(
                f"the run is resumed at step {state.global_step}, where it is {' and '.join(found)} already, and it is "
                "to stop at that: there are no healthy weights to go back to",
                hint="Resume from an earlier checkpoint, or start again with a lower learning rate",
            )
        self._keep(model, state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Measure when it is due and the trainer does not evaluate by itself, and after the last planned step."""
        self.steps.on_step_end(args, state, control, **kwargs)
        step, steps = state.global_step, state.max_steps
        evaluates = args.eval_strategy != "no" and not (args.eval_strategy == "steps" and state.eval_steps > steps)
        due = not evaluates and step * self.checks // steps > (step - 1) * self.checks // steps
        if due or (step >= steps and not control.should_evaluate):
            self._watch(kwargs["model"], state, control)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """See what the trainer says of loss and gradient."""
        self.steps.on_log(args, state, control, logs, **kwargs)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Measure what was just evaluated."""
        self._watch(kwargs["model"], state, control)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure the end, which may come before the last planned step, and before the best checkpoint is restored."""
        epochs = math.ceil((state.epoch or 0.0) - 1e-9)
        if control.should_training_stop or epochs >= state.num_train_epochs:
            self._watch(kwargs["model"], state, control)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Put the last healthy weights back, unless those that are in the model by now are healthy."""
        if self._training and self.on_collapse == "stop" and self.collapsed is not None and self._healthy is not None:
            # Measured rather than concluded from the checkpoint's number: a restore that fails is only logged.
            present = self.measured(kwargs["model"], state.global_step, state.epoch)
            if harm(present, self.history[0]):
                self.restored_step, weights = self._healthy
                _put_back(kwargs["model"], weights)
                if state.is_world_process_zero:
                    log.warning("the weights of step %d, the last healthy ones, are back", self.restored_step)
        self._training, self._healthy = False, None

    def _watch(self, model: nn.Module, state: TrainerState, control: TrainerControl) -> None:
        """Measure this step unless that is done, and stop if it is to be."""
        if not self._training:
            return  # an evaluation before or after training
        if self.history[-1].step != state.global_step:
            self._look(model, state)
            if not harm(self.history[-1], self.history[0]):
                self._keep(model, state.global_step)
        if self.on_collapse == "stop" and harm(self.history[-1], self.history[0]):
            control.should_training_stop = True
            control.should_save = False

    def _look(self, model: nn.Module, state: TrainerState) -> None:
        """Measure this step, note it, and tell what is new."""
        norm, diverged = self.steps.largest(), self.steps.diverged
        now = self.measured(
            model,
            state.global_step,
            state.epoch,
            gradient=norm.value if norm else None,
            usual_gradient=norm.usual if norm else None,
            diverged=str(diverged) if diverged else None,
        )
        self.history.append(now)
        base = self.history[0]
        _stored(state)[KEY] = {
            "probe": self._probe,
            "history": [dataclasses.asdict(health) for health in self.history],
        }
        for name in now.findings:
            if name not in self._told and not now.diverged and state.is_world_process_zero:
                log.warning("step %d: %s", now.step, finding_sentence(name, now, base, len(self.sentences)))
            self._told.add(name)

    def measured(self, model: nn.Module, step: int, epoch: float | None, **trained: Any) -> Health:
        """How a model's vectors lie now, for all processes alike, each of which has to ask; see ``measured_here``."""
        now = self.measured_here(model, step, epoch, **trained)
        # Every process must come to the same decision; they hold the same weights, but not always the same device.
        return cast(Health, broadcast_object_list([now])[0])

    def measured_here(self, model: nn.Module, step: int, epoch: float | None, **trained: Any) -> Health:
        """How a model's vectors lie now, beside those of the base; it does not go into the history.

        Args:
            model: to be measured.
            step: whose weights it has.
            epoch: passes until then.
            trained: fields of the measurement that tell of the training.
        """
        start = time.perf_counter()
        with undisturbed(model):
            vectors = _encode(cast(Model, model), list(self.sentences))
        now = measure(vectors, isinstance(model, SparseEncoder), step, round(epoch or 0.0, 4))
        now = dataclasses.replace(now, **trained)
        now = dataclasses.replace(now, findings=findings(now, self.history[0] if self.history else None))
        self.seconds += time.perf_counter() - start
        return now

    def _keep(self, model: nn.Module, step: int) -> None:
        if self.on_collapse == "stop":
            self._healthy = None  # before the next copy is made: there is room for one
            self._healthy = (step, _copy(model))

    def _resumed(self, state: TrainerState) -> list[Health]:
        """The history of the run so far, if there is one and it is of this probe."""
        stored = _stored(state).get(KEY) if state.global_step else None
        if stored is not None and stored["probe"] == self._probe:
            return [Health(**{**health, "findings": tuple(health["findings"])}) for health in stored["history"]]
        if state.global_step:
            log.warning(
                "the checkpoint of step %d has no measurements of this probe: the model is compared with itself as it "
                "is there, not with the base",
                state.global_step,
            )
        return []


def _checked(sentences: Sequence[str], on_collapse: str, checks: int, seed: int) -> list[str]:
    """The distinct sentences in their order; every wrong argument together otherwise."""
    problems, distinct = [], []
    if isinstance(sentences, str) or not all(isinstance(sentence, str) for sentence in sentences):
        problems.append("sentences must be a sequence of texts, and nothing else")
    else:
        distinct = list(dict.fromkeys(sentence for sentence in sentences if sentence.strip()))
        if len(distinct) < FEWEST:
            problems.append(f"sentences holds {len(distinct)} different ones that are not empty: {FEWEST} or more")
    if on_collapse not in ("warn", "stop"):
        problems.append(f"on_collapse is {on_collapse!r}: it must be 'warn' or 'stop'")
    for name, value, least in (("checks", checks, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            problems.append(f"{name} is {value!r}: it must be a whole number, {least} or more")
    if problems:
        raise RequestError(problems, hint="As in: CollapseGuard(sentences, on_collapse='stop', checks=10)")
    return distinct


def _stored(state: TrainerState) -> dict[str, Any]:
    """What the trainer writes into ``trainer_state.json`` beside its own; the library types it as a list, wrongly."""
    return cast(dict[str, Any], state.stateful_callbacks)


def _embedding(model: nn.Module) -> Model:
    """The model, if the guard can measure it."""
    problems = []
    if not isinstance(model, Model):
        problems.append(
            f"CollapseGuard measures a SentenceTransformer or a SparseEncoder, not a {type(model).__name__}"
        )
    kind = AcceleratorState().distributed_type
    if kind in SHARDED:
        problems.append(f"CollapseGuard needs the whole model in each process, and {kind.value} splits it")
    if problems:
        raise RequestError(problems, hint="Take it out of the callbacks")
    return cast(Model, model)


def _encode(model: Model, sentences: list[str]) -> NDArray[np.float32]:
    options: dict[str, Any] = {"batch_size": 64, "show_progress_bar": False, "convert_to_tensor": True}
    if isinstance(model, SparseEncoder):
        options |= {"convert_to_sparse_tensor": False, "save_to_cpu": True}
    vectors = cast(Tensor, model.encode(sentences, **options))
    rows: NDArray[np.float32] = vectors.float().cpu().numpy()
    return rows


def _copy(model: nn.Module) -> dict[str, Tensor]:
    trained = ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)
    return {name: value.detach().to("cpu", copy=True) for name, value in chain(trained, model.named_buffers())}


def _put_back(model: nn.Module, weights: dict[str, Tensor]) -> None:
    there = dict(chain(model.named_parameters(), model.named_buffers()))
    with torch.no_grad():
        for name, value in weights.items():
            there[name].copy_(value)
