"""What leaves a machine: the files of a list, and nothing private in them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_simtune import publish_files, publish_search
from hf_simtune.card_text import escape
from hf_simtune.errors import RunError
from hf_simtune.publish_search import Found, private
from hf_simtune.run_folder import RunFolder
from hf_simtune.scores_file import SCHEMA

ROW = "A stranger's letter that nobody but us has read."


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """What a run leaves, and what others leave beside it."""
    run = RunFolder(tmp_path / "run")
    here = ["config.json", "modules.json", "model.safetensors", "1_Pooling/config.json", "2_Dense/model.safetensors"]
    here += ["model-00001-of-00002.safetensors", "tokenizer.json", "plots/scores.png", "README.md"]
    stay = ["training_args.bin", "pytorch_model.bin", "optimizer.pt", "modeling_x.py", ".env", "1_Pooling/notes.txt"]
    for name in here + stay:
        path = run.model / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"{}")
    run.plots.mkdir()
    (run.plots / "scores.png").write_bytes(b"png")
    (run.plots / "of somebody else.png").write_bytes(b"png")
    run.record.write_text("{}")
    pq.write_table(pa.table([pa.array([], field.type) for field in SCHEMA], schema=SCHEMA), run.scores)
    return run


def test_only_what_is_on_the_list_is_taken(folder: RunFolder) -> None:
    files, left = publish_files.collect(folder, pictures=["scores.png", "none.png"])
    assert sorted(files) == [
        *("1_Pooling/config.json", "2_Dense/model.safetensors", "config.json"),
        *("model-00001-of-00002.safetensors", "model.safetensors", "modules.json", "plots/scores.png"),
        *("record.json", "scores.parquet", "tokenizer.json"),
    ]
    assert "README.md" not in files, "the card is made anew"
    assert sorted(left) == [
        *(".env", "1_Pooling/notes.txt", "modeling_x.py", "optimizer.pt", "pytorch_model.bin", "training_args.bin")
    ]


def test_scores_with_a_column_of_texts_are_not_published(folder: RunFolder) -> None:
    table = pq.read_table(folder.scores)
    pq.write_table(table.append_column("sentence1", pa.array([], pa.string())), folder.scores)
    with pytest.raises(RunError, match="it holds sentence1"):
        publish_files.collect(folder)
    pq.write_table(table.replace_schema_metadata({"note": ROW}), folder.scores)
    with pytest.raises(RunError, match="not as the run wrote it"):
        publish_files.collect(folder)


def test_pickled_weights_alone_are_nothing_to_publish(folder: RunFolder) -> None:
    for path in folder.model.rglob("*.safetensors"):
        path.unlink()
    with pytest.raises(RunError, match=r"lacks weights .*pytorch_model.bin.* may not be published"):
        publish_files.collect(folder)


SECRET, PATH, NAMES, TEXT = "a token or another secret", "a path of this machine", "names", "the text of a row"


@pytest.mark.parametrize(
    ("text", "what", "reason"),
    [
        ("hf_" + "aB3" * 11, SECRET, ""),
        ("ghp_" + "a1" * 18, SECRET, ""),
        ("see /home/me/data.csv", PATH, ""),
        ('"/mnt/x"', PATH, ""),
        ("/content/drive", PATH, ""),
        ("in /nfs/acme/rows.csv", PATH, ""),
        ("file:///home/bob/x", PATH, ""),
        (r"D:\\data", PATH, ""),
        (r"C:\\Users\\me", PATH, ""),
        ("runs by quentin.", "the user's name", "names"),
        ("on node-17, overnight", "this machine's name", "names"),
        (f"it said: {ROW}", TEXT, "texts"),
        (json.dumps({"a": ROW.replace("letter", 'lett"er')}), TEXT, "texts"),
        (escape(ROW.replace("letter", "<b>*letter*</b>")), TEXT, "texts"),
    ],
)
def test_what_must_not_leave_is_found(text: str, what: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish_search.getpass, "getuser", lambda: "quentin")
    monkeypatch.setattr(publish_search.socket, "gethostname", lambda: "node-17")
    rows = [ROW, ROW.replace("letter", 'lett"er'), ROW.replace("letter", "<b>*letter*</b>")]
    assert private({"record.json": text.encode()}, rows) == [Found("record.json", what, reason)]


def test_a_name_of_the_hub_is_not_the_users_and_nobody_need_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish_search.getpass, "getuser", lambda: "quentin")
    assert private({"README.md": b'SentenceTransformer("quentin/model"), of me/quentin'}) == []

    def nobody() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr(publish_search.getpass, "getuser", nobody)
    assert private({"README.md": b"text"}) == []


def test_the_words_of_every_card_are_no_row() -> None:
    title = "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks"
    card = f"A citation: {title}".encode()
    assert private({"README.md": card}, [title]) == []


def test_rows_in_other_scripts_are_found_and_so_is_a_piece_of_a_long_one() -> None:
    row = "\u4eca\u5929\u7684\u5929\u6c14\u5f88\u597d\u6211\u4eec\u53bb\u516c\u56ed"
    assert private({"README.md": row.encode()}, [row])[0].reason == "texts"
    words = " ".join(f"word{number}" for number in range(60))
    for piece in (words[:70], words[-70:], words[len(words) // 2 - 60 : len(words) // 2 + 60]):
        assert private({"README.md": piece.encode()}, [words]) != [], piece


def test_a_secret_of_the_environment_is_found_even_in_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "0123456789abcdef")
    assert private({"model.safetensors": b"..0123456789abcdef.."}) == [Found("model.safetensors", SECRET, "")]


def test_what_may_be_shown_and_short_texts_are_no_find() -> None:
    card = f"{ROW} A dog runs.".encode()
    assert private({"README.md": card}, [ROW, "A dog runs."], shown=[ROW]) == []
    assert private({"README.md": b"an ubuntu server, https://example.org/home/page, half of /2"}) == []


@given(st.text(max_size=80), st.booleans())
def test_a_text_in_json_is_found_whatever_it_is(text: str, ascii: bool) -> None:
    text = f"{text} twenty letters and one more"
    kept = text.encode("utf-8", errors="replace").decode()
    held = json.dumps({"text": kept}, ensure_ascii=ascii and kept.isascii()).encode()
    assert private({"record.json": held}, [kept]) == [Found("record.json", TEXT, "texts")]


def test_a_long_text_is_found_though_it_was_cut() -> None:
    assert private({"README.md": escape(ROW * 9, limit=150).encode()}, [ROW * 9]) != []
