from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
    SparseEncoder,
    SparseEncoderTrainer,
    SparseEncoderTrainingArguments,
)
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.sparse_encoder import losses as sparse_losses
from test_sparse_models import SENTENCES, dense
from tiny import tiny_checkpoint, tiny_encoder, tiny_model, tiny_splade, tiny_static

from hf_simtune import adapters, models
from hf_simtune.errors import RequestError, RunError
from hf_simtune.evaluation.sts import Model
from hf_simtune.lora import LoRA
from hf_simtune.record import ModelFacts
from hf_simtune.weights import weights_sha256


def bert(folder: Path) -> Path:
    return tiny_model(folder)


def distilbert(folder: Path) -> Path:
    return tiny_encoder(folder, "distilbert")


def csr(folder: Path) -> Path:
    model, _ = models.load(str(distilbert(folder.with_name("dense"))), sparse="csr")
    models.save(model, folder)
    return folder


def distilbert_splade(folder: Path) -> Path:
    checkpoint = tiny_checkpoint(folder.with_name("checkpoint"), "distilbert")
    model, _ = models.load(str(checkpoint), sparse="splade")
    models.save(model, folder)
    return folder


ALL = pytest.mark.parametrize("make", [bert, distilbert, tiny_splade, distilbert_splade, csr])


def moved(model: Model, seed: int = 1) -> Model:
    """The model with adapters that do something: as they start, they change nothing."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if "lora_B" in name:
                tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
    return model


@ALL
def test_only_the_adapters_are_trained_and_they_start_as_nothing(make: Callable[[Path], Path], tmp_path: Path) -> None:
    model, facts = models.load(str(make(tmp_path / "base")))
    before = dense(model)
    state = torch.get_rng_state()
    found = adapters.attach(model, LoRA(r=3, alpha=6), seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    assert adapters.attached(model)
    assert torch.equal(dense(model), before)
    trained = {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}
    assert trained and all(".lora_" in name for name in trained)
    assert found.trainable == sum(tensor.numel() for tensor in trained.values())
    assert found.parameters == facts.parameters + found.trainable
    assert found.layers == len(trained) / 2 >= 12
    assert not any("pooler" in name or "decoder" in name for name in trained), "no embedding comes from these"
    again, _ = models.load(str(tmp_path / "base"))
    adapters.attach(again, LoRA(r=3, alpha=6), seed=5)
    assert weights_sha256(again) == weights_sha256(model)


@ALL
def test_saved_adapters_load_on_their_base_and_merge_into_it(make: Callable[[Path], Path], tmp_path: Path) -> None:
    place, options = make(tmp_path / "base"), {"prompt": "about: ", "max_length": 7}  # what is saved has these too
    model, facts = models.load(str(place), **options)
    adapters.attach(model, LoRA(r=4, alpha=8), seed=0)
    base, tuned = dense(model), dense(moved(model))
    assert (base - tuned).abs().max() > 1e-3
    saved = tmp_path / "adapter"
    adapters.save(model, saved, base=facts, base_place=place)
    assert (saved / "adapter_model.safetensors").is_file() and not (saved / "model.safetensors").exists()
    assert adapters.check_reload(model, saved, SENTENCES, base_place=place)[1] <= 1e-5
    with pytest.raises(RunError, match="does not load"):  # its base is named, and is no folder here
        adapters.check_reload(model, saved, SENTENCES)

    whole = adapters.merged(lambda: models.load(str(place), **options)[0], saved)
    torch.testing.assert_close(dense(whole), tuned, atol=3e-5 * max(1.0, float(tuned.abs().max())), rtol=0)
    models.save(whole, tmp_path / "merged")
    assert adapters.check_reload(model, tmp_path / "merged", SENTENCES)[1] <= 3e-5 * max(1.0, float(tuned.abs().max()))
    assert not (tmp_path / "merged" / "adapter_config.json").exists()
    plain, found = models.load(str(tmp_path / "merged"))
    assert not adapters.attached(plain)
    assert (found.parameters, found.kind, found.similarity) == (facts.parameters, facts.kind, facts.similarity)


@ALL
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_reach_every_adapter(make: Callable[[Path], Path], checkpointing: bool, tmp_path: Path) -> None:
    model, _ = models.load(str(make(tmp_path / "base")))
    adapters.attach(model, LoRA(r=2), seed=0)
    moved(model).train()
    if checkpointing:
        model.transformers_model.activation_checkpointing_enable({"use_reentrant": True})
    found = model(model.preprocess(SENTENCES))["sentence_embedding"]
    (found * torch.randn(found.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
    without = [
        name for name, tensor in model.named_parameters() if tensor.requires_grad and not (tensor.grad is not None)
    ]
    assert not without
    assert all(tensor.grad is None for tensor in model.parameters() if not tensor.requires_grad)


def test_a_cached_loss_has_the_gradients_of_the_plain_one(tmp_path: Path) -> None:
    place = str(tiny_model(tmp_path / "base"))
    grads = []
    for make in (
        lambda model: MultipleNegativesRankingLoss(model),
        lambda model: CachedMultipleNegativesRankingLoss(model, mini_batch_size=1),
    ):
        model, _ = models.load(place)
        adapters.attach(model, LoRA(r=2), seed=0)
        moved(model).eval()  # no dropout: the two draw differently
        loss = make(model)
        loss([model.preprocess(SENTENCES[:2]), model.preprocess(SENTENCES[2:])], None).backward()
        grads.append([tensor.grad for tensor in model.parameters() if tensor.requires_grad])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_targets_are_the_ends_of_names_and_a_wrong_one_is_told_what_there_is(tmp_path: Path) -> None:
    place = str(tiny_model(tmp_path / "base"))
    model, _ = models.load(place)
    found = adapters.attach(model, LoRA(targets=("query", "attention.output.dense")), seed=0)
    assert (found.layers, found.targets) == (4, ("dense", "query"))
    model, _ = models.load(place)
    with pytest.raises(RequestError, match=r"targets=query,q_proj: .* called q_proj") as told:
        adapters.attach(model, LoRA(targets=("query", "q_proj")), seed=0)
    assert "dense, key, query, value; all-linear takes each" in str(told.value)
    assert all(tensor.requires_grad for tensor in model.parameters()), "nothing was changed"
    with pytest.raises(RequestError, match=r"called pooler\.dense"):
        adapters.attach(model, LoRA(targets=("pooler.dense",)), seed=0)


def test_adapters_are_refused_where_they_cannot_go(tmp_path: Path) -> None:
    static = tiny_static(tmp_path / "table")
    assert "a static model" in adapters.refused(str(static))[0]
    for name in (
        "sentence-transformers/static-retrieval-mrl-en-v1",
        "minishlab/potion-base-8M",
        "minishlab/M2V_output",
    ):
        assert name in adapters.refused(name)[0]
    for name in ("sentence-transformers/all-MiniLM-L6-v2", "builtin:all-MiniLM-L6-v2", str(tiny_model(tmp_path / "t"))):
        assert adapters.refused(name) == []
    with pytest.raises(RequestError, match="a static model"):
        adapters.attach(models.load(str(static))[0], LoRA(), seed=0)
    model, _ = models.load(str(tmp_path / "t"))
    adapters.attach(model, LoRA(), seed=0)
    with pytest.raises(RequestError, match="has adapters already"):
        adapters.attach(model, LoRA(), seed=0)
    made = ModelFacts(name="builtin:splade-MiniLM-L6", untrained="the masked-language head")
    assert "needs --merge" in adapters.refused(made.name, made)[0]
    assert adapters.refused(made.name, made, merge=True) == []


def test_a_peft_that_is_too_old_for_transformers_is_told_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(adapters, "MIN_PEFT_VERSION", "99.0")  # as transformers 5.24 wanted 0.22 while peft was at 0.21
    (told,) = adapters.refused("sentence-transformers/all-MiniLM-L6-v2")
    assert "needs peft 99.0 for adapters" in told and "pip install 'peft>=99.0', or 'transformers<" in told


def test_the_saved_adapters_name_the_hub_and_no_path_of_this_machine(tmp_path: Path) -> None:
    place = tiny_model(tmp_path / "base")
    model, facts = models.load(str(place))
    adapters.attach(model, LoRA(), seed=0)
    of_hub = ModelFacts(name="org/base", hub_id="org/base", revision="0" * 40)
    for base, name in ((of_hub, "org/base"), (facts, "base")):
        saved = tmp_path / f"saved-{base.revision}"
        adapters.save(model, saved, base=base, base_place=place)
        config = json.loads((saved / "adapter_config.json").read_text(encoding="utf-8"))
        assert (config["base_model_name_or_path"], config["revision"]) == (name, base.revision)
        assert config["target_modules"] == sorted(config["target_modules"]) != []
        assert not [path for path in saved.rglob("*") if path.is_file() and str(tmp_path).encode() in path.read_bytes()]
    with pytest.raises(RunError, match=r"tell where the base lies .* adapter_config\.json"):
        adapters.save(model, tmp_path / "told", base=ModelFacts(name=str(place)), base_place=place)


def test_a_reload_that_differs_is_an_error(tmp_path: Path) -> None:
    place = tiny_model(tmp_path / "base")
    model, facts = models.load(str(place))
    adapters.attach(model, LoRA(), seed=0)
    adapters.save(moved(model), tmp_path / "saved", base=facts, base_place=place)
    moved(model, seed=2)
    with pytest.raises(RunError, match="loads with other embeddings than the model that was saved"):
        adapters.check_reload(model, tmp_path / "saved", SENTENCES, base_place=place)
    other = tiny_model(tmp_path / "other", seed=9)
    moved(model, seed=1)
    with pytest.raises(RunError, match="other embeddings"):
        adapters.check_reload(model, tmp_path / "saved", SENTENCES, base_place=other)


def test_adapters_load_by_the_name_of_their_folder_or_are_explained(tmp_path: Path) -> None:
    place = tiny_model(tmp_path / "base")
    model, facts = models.load(str(place))
    adapters.attach(model, LoRA(), seed=0)
    adapters.save(moved(model), tmp_path / "saved", base=facts, base_place=place)
    config = tmp_path / "saved" / "adapter_config.json"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace('"base"', json.dumps(str(place))), encoding="utf-8")
    loaded, _ = models.load(str(tmp_path / "saved"))
    assert torch.equal(dense(loaded), dense(model))
    config.write_text(text.replace('"base"', '"org/nowhere"'), encoding="utf-8")
    with pytest.raises(RequestError, match="neither on this machine nor to be fetched"):
        models.load(str(tmp_path / "saved"))


class FirstIsBest(BaseEvaluator):
    """A score that falls, and the weights that it was given to."""

    def __init__(self) -> None:
        super().__init__()
        self.primary_metric = "made_up"
        self.seen: dict[int, str] = {}

    def __call__(self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1) -> Any:
        self.seen[steps] = weights_sha256(model)
        return {"made_up": 1 / steps}


def trained(model: Model, folder: Path, own: bool) -> tuple[Any, FirstIsBest]:
    """Six steps, scored and saved after the third and the last, the third being the better."""
    sparse = isinstance(model, SparseEncoder)
    library = SparseEncoderTrainer if sparse else SentenceTransformerTrainer

    class Trainer(library):  # type: ignore[misc, valid-type]
        def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
            """Add none."""

        def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
            self.model.save_pretrained(str(output_dir), create_model_card=False)

        def _load_from_checkpoint(self, checkpoint_path: str) -> None:
            if own:
                adapters.restore(self.model, Path(checkpoint_path))
            else:
                super()._load_from_checkpoint(checkpoint_path)

    evaluator = FirstIsBest()
    loss: Any = MultipleNegativesRankingLoss
    if sparse:
        inner = sparse_losses.SparseMultipleNegativesRankingLoss(model)
        loss = sparse_losses.CSRLoss(model, inner)
    arguments = (SparseEncoderTrainingArguments if sparse else SentenceTransformerTrainingArguments)(
        output_dir=str(folder),
        max_steps=6,
        per_device_train_batch_size=2,
        learning_rate=1e-2,
        eval_strategy="steps",
        eval_steps=3,
        save_strategy="steps",
        save_steps=3,
        load_best_model_at_end=True,
        metric_for_best_model="eval_made_up",
        greater_is_better=True,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    rows = Dataset.from_dict({"anchor": SENTENCES * 3, "positive": SENTENCES[::-1] * 3})
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        loss=loss if sparse else loss(model),
        evaluator=evaluator,
    )
    trainer.train()
    return trainer, evaluator


@pytest.mark.slow
@pytest.mark.parametrize("make", [bert, distilbert, csr])
@pytest.mark.parametrize("own", [False, True])
def test_the_best_checkpoint_of_adapters_is_restored(make: Callable[[Path], Path], own: bool, tmp_path: Path) -> None:
    place = make(tmp_path / "base")
    model, facts = models.load(str(place), device="cpu")
    frozen = {name: tensor.clone() for name, tensor in model.named_parameters()}
    adapters.attach(model, LoRA(r=4), seed=0)
    trainer, evaluator = trained(model, tmp_path / "out", own)
    assert sorted(evaluator.seen) == [3, 6] and trainer.state.best_global_step == 3
    assert evaluator.seen[3] != evaluator.seen[6]
    assert weights_sha256(model) == evaluator.seen[3], "the restored weights are those that were scored"
    for name, tensor in model.named_parameters():
        if ".lora_" not in name:
            assert torch.equal(tensor, frozen[name.replace(".base_layer", "")])
    checkpoint = tmp_path / "out" / "checkpoint-3"
    assert (checkpoint / "adapter_model.safetensors").is_file()
    assert adapters.check_reload(model, checkpoint, SENTENCES, base_place=place)[1] <= 1e-5 * float(
        dense(model).max() + 1
    )
    fresh, _ = models.load(str(place), device="cpu")
    adapters.attach(fresh, LoRA(r=4), seed=9)
    adapters.restore(fresh, checkpoint)
    assert weights_sha256(fresh) == evaluator.seen[3], "and a run that is taken up again starts from them"
    assert facts.weights_sha256 not in evaluator.seen.values()


@pytest.mark.slow
def test_adapters_are_restored_without_the_base_where_it_was(tmp_path: Path) -> None:
    place = tiny_model(tmp_path / "base")
    model, _ = models.load(str(place), device="cpu")
    shutil.rmtree(place)
    adapters.attach(model, LoRA(r=4), seed=0)
    _, evaluator = trained(model, tmp_path / "out", own=True)
    assert weights_sha256(model) == evaluator.seen[3]


def test_a_checkpoint_of_other_adapters_is_not_restored(tmp_path: Path) -> None:
    place = tiny_model(tmp_path / "base")
    model, facts = models.load(str(place))
    adapters.attach(model, LoRA(targets=("query",)), seed=0)
    adapters.save(model, tmp_path / "saved", base=facts, base_place=place)
    other, _ = models.load(str(place))
    adapters.attach(other, LoRA(targets=("query", "key")), seed=0)
    with pytest.raises(RunError, match="has other adapters than the model"):
        adapters.restore(other, tmp_path / "saved")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["builtin:all-MiniLM-L6-v2", "builtin:splade-MiniLM-L6"])
def test_adapters_on_minilm_merge_to_the_same_embeddings(name: str, minilm: Path, tmp_path: Path) -> None:
    model, facts = models.load(name)
    found = adapters.attach(model, LoRA(), seed=42)
    assert 0 < found.trainable / found.parameters < 0.1
    tuned = dense(moved(model))
    adapters.save(model, tmp_path / "adapter", base=facts, base_place=models.base_folder(name) or "")
    if facts.hub_id:
        config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
        assert config["base_model_name_or_path"] == "sentence-transformers/all-MiniLM-L6-v2"
        assert config["revision"] == "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"
        assert adapters.check_reload(model, tmp_path / "adapter", SENTENCES, base_place=minilm)[1] <= 1e-5
    whole = adapters.merged(lambda: models.load(name)[0], tmp_path / "adapter")
    models.save(whole, tmp_path / "merged")
    assert adapters.check_reload(model, tmp_path / "merged", SENTENCES)[1] <= 3e-5 * max(1.0, float(tuned.abs().max()))
    plain = (SparseEncoder if facts.kind == "splade" else SentenceTransformer)(str(tmp_path / "merged"), device="cpu")
    torch.testing.assert_close(dense(plain), tuned, atol=1e-5, rtol=1e-4)
