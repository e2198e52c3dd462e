"""One side of a benchmark: a process that trains a few steps each time it is asked, and says how long they took.

Started by ``process.py`` with a file that says what to do; it talks in lines of JSON over its standard streams.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import psutil
import torch
from datasets import Dataset, load_from_disk
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from torch import nn
from torch.profiler import ProfilerActivity, profile
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from hf_simtune import losses, machine
from hf_simtune.recipe import Recipe
from hf_simtune.speed.allocator import freed_memory_kept
from hf_simtune.speed.forward import sorted_forward

__all__ = ["Job", "main"]

# Where an operator's time belongs, by what its name contains; the first that fits.
KINDS = (
    ("matrix products", ("mm", "addmm", "bmm", "matmul", "linear", "mkldnn", "baddbmm", "attention")),
    ("random numbers", ("random_", "bernoulli", "dropout")),
    ("activation", ("gelu", "relu", "softmax", "tanh")),
    ("normalisation", ("layer_norm", "norm_backward")),
    ("optimiser and clipping", ("adam", "vector_norm", "foreach", "Optimizer")),
    ("look-up and gathering", ("embedding", "index", "gather", "scatter")),
    ("copies and casts", ("copy_", "_to_copy", "cat", "clone", "contiguous", "fill_", "zero_")),
    ("sums and products by element", ("aten::add", "aten::mul", "sub", "div", "sum", "aten::ge", "pow")),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What one side does."""

    model: str
    max_length: int | None
    rows: str  # folder of a saved data set
    loss: str
    temperature: float
    batch_size: int
    learning_rate: float
    seed: int
    precision: str  # fp32 or bf16
    forward: str  # plain, packed or chunked
    ours: bool  # False: what a plain script does, nothing of this package around its steps
    steps: int  # a round
    rounds: int
    threads: int


class Counter:
    """Tokens that a loss was given, and places that its model computed for them."""

    def __init__(self) -> None:
        self.real = self.computed = 0

    def given(self, loss: nn.Module, arguments: tuple[Any, ...]) -> None:
        """Before a loss; for ``register_forward_pre_hook``."""
        self.real += sum(int(features["attention_mask"].sum()) for features in arguments[0])

    def passed(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        """Before the encoder; for ``register_forward_pre_hook``."""
        features = arguments[0]
        places = features["inputs_embeds"][..., 0] if "inputs_embeds" in features else features["input_ids"]
        self.computed += places.numel()


class Rounds(TrainerCallback):
    """Waits for a word before each round, and reports behind it."""

    def __init__(self, steps: int, counter: Counter, out: TextIO) -> None:
        self.steps = steps
        self.counter = counter
        self.out = out
        self.start = 0.0
        self.profiler: profile | None = None

    def wait(self, control: TrainerControl) -> None:
        """Read the next word: ``go``, ``profile`` or ``stop``."""
        word = sys.stdin.readline().strip()
        if word not in ("go", "profile"):
            control.should_training_stop = True
            return
        self.counter.real = self.counter.computed = 0
        if word == "profile":
            self.profiler = profile(activities=[ProfilerActivity.CPU])
            self.profiler.start()
        self._settle()
        self.start = time.perf_counter()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Ready."""
        self.say({"ready": True})
        self.wait(control)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Report at the end of a round."""
        if state.global_step % self.steps:
            return
        self._settle()
        told: dict[str, Any] = {
            "seconds": time.perf_counter() - self.start,
            "real": self.counter.real,
            "computed": self.counter.computed,
            "peak_mib": round(self._peak(), 1),
            "resident_mib": round(psutil.Process().memory_info().rss / 2**20, 1),
        }
        if self.profiler is not None:
            self.profiler.stop()
            told["shares"] = shares(self.profiler)
            self.profiler = None
        self.say(told)
        self.wait(control)

    def _settle(self) -> None:
        """A GPU works on while Python goes ahead: wait for it."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    def _peak(self) -> float:
        """MiB: of the GPU's memory where there is one, else of the process."""
        return torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else machine.peak_memory()[0]

    def say(self, value: dict[str, Any]) -> None:
        """One line to the parent."""
        self.out.write(json.dumps(value) + "\n")
        self.out.flush()


def shares(found: profile) -> dict[str, float]:
    """Share of the operators' own time by kind, largest first."""
    sums: dict[str, float] = {}
    for event in found.key_averages():
        own = event.self_cpu_time_total
        kind = next((kind for kind, names in KINDS if any(name in event.key for name in names)), "other")
        sums[kind] = sums.get(kind, 0.0) + own
    whole = sum(sums.values()) or 1.0
    return {kind: round(value / whole, 4) for kind, value in sorted(sums.items(), key=lambda item: -item[1])}


def main(job_file: str) -> None:
    """Run a job to its end."""
    job = Job(**json.loads(Path(job_file).read_text(encoding="utf-8")))
    out = sys.stdout
    sys.stdout = sys.stderr  # the lines to the parent are ours alone
    torch.set_num_threads(job.threads)
    set_seed(job.seed)
    model = SentenceTransformer(job.model).float()
    if job.max_length is not None:
        model.max_seq_length = job.max_length
    loss = losses.build(job.loss, model, Recipe(temperature=job.temperature))
    counter = Counter()
    loss.register_forward_pre_hook(counter.given)
    model[0].register_forward_pre_hook(counter.passed)
    trainer = _trainer(job, model, loss, Rounds(job.steps, counter, out))
    if not job.ours:
        trainer.train()
        return
    with freed_memory_kept(), sorted_forward(model, loss, job.forward):
        trainer.train()


def _trainer(job: Job, model: SentenceTransformer, loss: nn.Module, rounds: Rounds) -> SentenceTransformerTrainer:
    rows = load_from_disk(job.rows)
    if not isinstance(rows, Dataset):
        raise TypeError(f"{job.rows} is no single data set")
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(Path(job.rows).parent / "trainer"),
        max_steps=job.steps * (job.rounds + 2),  # the first is a warm-up, the last may be profiled
        per_device_train_batch_size=job.batch_size,
        learning_rate=job.learning_rate,
        seed=job.seed,
        use_cpu=model.device.type == "cpu",
        bf16=job.precision == "bf16",
        fp16=job.precision == "fp16",
        batch_sampler=losses.batch_sampler(job.loss),
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=model.device.type == "cuda",
    )
    trainer = SentenceTransformerTrainer(model=model, args=arguments, train_dataset=rows, loss=loss, callbacks=[rounds])
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    used = str(trainer.accelerator.mixed_precision).replace("no", "fp32")
    if used != job.precision:
        raise RuntimeError(f"the trainer was set up for {used}, not for {job.precision}")
    return trainer


if __name__ == "__main__":
    main(sys.argv[1])
