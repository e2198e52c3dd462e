from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
from conftest import CHECKOUT

import hf_simtune

PACKAGE = CHECKOUT / "hf_simtune"
# What may import what: only rooms below. The order is the house's.
FLOORS = [
    {"tellable"},
    {"demo_page.escaped", "demo_page.typed", "demo_page.encoders"},
    {"demo_page.shown", "demo_page.told"},
    {"demo_page.page", "demo_page"},
    {"errors", "version", "wording", "loss_table", "chatter", "publish_reasons", "whole", "stopping", "trackers"},
    {"publish_arguments", "row_shapes"},
    {"unread_fields"},
    {"fields", "rules", "plain", "branches", "hub_names", "hub_patience", "held", "unwritten", "memory"},
    {"words", "record_training", "stopwatch", "checkpoint", "stand_ins"},
    {"lora", "hub", "weights", "setups", "tokenizer_files", "report_text", "data.sports"},
    {"recipe", "model_errors"},
    {"bench.rows", "bench.fresh"},
    {"evaluation.correlation", "evaluation.geometry", "evaluation.groups", "evaluation.bootstrap", "evaluation.metric"},
    {"data.spec", "model_names", "search", "evaluation.compare", "plots", "card_text", "catalogue"},
    {"evaluation.neighbours", "evaluation.spread", "line_plots"},
    {"evaluation.reindex"},
    {"evaluation.retrieval"},
    {"flags", "record", "grid_plots"},
    {
        "evaluation.undisturbed",
        "scores_file",
        "run_folder",
        "card_losses",
        "dense_below",
        "origins",
        "machine",
        "precision",
        "threads",
        "branching",
        "claims",
        "ranks",
    },
    {
        "evaluation.sts",
        "evaluation.health",
        "separation",
        "divergence",
        "schedule",
        "set_plan",
        "card_metadata",
        "card_figure",
    },
    {"publish_files"},
    {"publish_gate", "eval_results", "hub_state", "attempt"},
    {"publish_search", "hub_upload", "publish_proof"},
    {"demo_space"},
    {"card_provenance"},
    {"card_evaluation"},
    {"card_training", "cautions"},
    {"speed.cuts", "speed.dropout", "speed.allocator"},
    {"speed.attention"},
    {"speed.forward"},
    {"speed.choose"},
    {"sparse_models", "adapters", "model_files"},
    {"losses", "progress", "card", "card_plots", "models", "data", "guard", "wordless"},
    {"report_figures", "report_rows", "report_words"},
    {"report", "notebook_view"},
    {"trainers"},
    {"train", "before_after", "starting"},
    {"preparing", "kept", "script_facts", "writing", "watching", "onnx_export", "tracking", "checkpoint_push"},
    {"saving", "callback", "publishing", "exporting"},
    {"release", "demo_run"},
    {"run_callback"},
    {"fitting"},
    {"training_facts"},
    {"scoring", "diagnosing", "tuning"},
    {"diagnosis_page", "comparison_report", "bench.worker", "bench.answer", "bench.gemm", "bench.data"},
    {"bench.process"},
    {"bench.step"},
    {"bench.text"},
    {"bench.commands", "bench.page"},
    {"run_set"},
    {"sweep_figures"},
    {"sweep_pictures"},
    {"sweep_page"},
    {"sweep_card"},
    {"several_page", "sweeping"},
    {"pairing", "ledger", "same_question"},
    {"run_list"},
    {"ablation", "beside", "quoted"},
    {"several", "reference"},
    {"terminal", "arguments"},
    {"commands", "terminal_run", "publish_command"},
    {"without_hub"},
    {"run_commands", "reference_runs"},
    {"cli"},
    {"__main__", "__init__"},
]


def test_the_public_names_are_exactly_those_exported() -> None:
    assert sorted(hf_simtune.__all__) == hf_simtune.__all__ == dir(hf_simtune)
    for name in hf_simtune.__all__:
        assert getattr(hf_simtune, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        hf_simtune.nothing  # noqa: B018


def test_every_module_says_what_it_exports_and_has_it() -> None:
    names = [module.name for module in pkgutil.walk_packages([str(PACKAGE)], "hf_simtune.")]
    assert len(names) > 25
    for name in names:
        if name.endswith("__main__") or name == "hf_simtune.evaluation.spearman" or ".recipes" in name:
            continue
        module = importlib.import_module(name)
        if module.__file__ and Path(module.__file__).name == "__init__.py":
            continue
        for public in getattr(module, "__all__", []):
            assert hasattr(module, public), f"{name} has no {public}"
        assert getattr(module, "__all__", None) is not None or name == "hf_simtune.version", f"{name} has no __all__"


def test_the_map_in_contributing_names_every_room() -> None:
    whole = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    told = re.findall(r"`([\w*/]+(?:\.py|/))`", whole.partition("## Where things are")[2].partition("## To add")[0])
    rooms = {path.name for path in PACKAGE.glob("*.py") if not path.name.startswith("__")}
    rooms |= {f"{path.parent.name}/" for path in PACKAGE.glob("*/__init__.py")}
    assert [room for room in sorted(rooms) if not any(fnmatch(room, name) for name in told)] == []
    there = [name for name in told if list(PACKAGE.rglob(name.rstrip("/"))) or (PACKAGE.parent / name).exists()]
    assert told == there, "it names what is not there"


def floor(module: str) -> int:
    if module.startswith("data.sports"):
        module = "data.sports"
    in_data = module == "data" or (module.startswith("data.") and module not in ("data.spec", "data.sports"))
    room = "data" if in_data else module
    return next(index for index, rooms in enumerate(FLOORS) if room in rooms)


def test_imports_go_down_only() -> None:
    seen = 0
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if "spearman" in parts[:-1] or parts[0] == "recipes":
            continue
        here = ".".join(parts if parts[-1] != "__init__" or len(parts) == 1 else parts[:-1])
        if here in ("evaluation", "data", "speed", "bench"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        typed = {  # what is read by the type checker alone is no import
            id(node)
            for block in ast.walk(tree)
            if here != "__init__" and isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
            for node in ast.walk(block)
        }
        for node in ast.walk(tree):
            if id(node) in typed:
                continue
            if not (isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("hf_simtune")):
                continue
            place = node.module.removeprefix("hf_simtune").removeprefix(".")
            targets = (
                [place]
                if place not in ("", "data", "evaluation", "speed", "bench")
                else [f"{place}.{alias.name}".strip(".") for alias in node.names]
            )
            for target in targets:
                if target in hf_simtune.__all__ or (
                    floor(target) == floor(here) and target.startswith("data") and here.startswith("data")
                ):
                    continue
                seen += 1
                assert floor(target) < floor(here), f"{here} imports {target}, which is not below it"
    assert seen > 60


def test_no_file_outgrows_its_room() -> None:
    for path in [*PACKAGE.rglob("*.py"), *(CHECKOUT / "recipes").rglob("*.py")]:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 320, f"{path.name} has {lines} lines"
