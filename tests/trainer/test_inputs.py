"""Where error cases may come from: object stores, Hugging Face datasets, the hub."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from finetune_trainer import locations
from finetune_trainer.audio import decode
from finetune_trainer.errors import BadDataError
from finetune_trainer.manifest import read_manifest

from .material import RATE, tone

BUCKET: dict[str, bytes] = {}


def wav(word: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(word, np.random.default_rng(0)), RATE, format="WAV")
    return buffer.getvalue()


class Store(BaseHTTPRequestHandler):
    """The part of S3's protocol that reading needs: HEAD and GET of objects, and listing; one bucket, `speech`."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        url = urlsplit(self.path)
        bucket, _, key = unquote(url.path).lstrip("/").partition("/")
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if "secret" in key:
            self.send(403, b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>")
        elif bucket == "speech" and not key:
            self.send(200, listing(query.get("prefix", "")))
        elif bucket == "speech" and key in BUCKET:
            self.send(200, BUCKET[key])
        else:
            self.send(404, b"<Error><Code>NoSuchKey</Code><Message>none</Message></Error>")

    def send(self, status: int, body: bytes) -> None:
        span = self.headers.get("Range")
        if span and status == 200:
            first, last = span.removeprefix("bytes=").split("-")
            whole, body, status = len(body), body[int(first) : int(last or len(body)) + 1], 206
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(body) - 1}/{whole}")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Sun, 01 Nov 2026 00:00:00 GMT")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def listing(prefix: str) -> bytes:
    """What lies directly below a prefix."""
    below = {key.removeprefix(prefix): body for key, body in sorted(BUCKET.items()) if key.startswith(prefix)}
    folders = {name.partition("/")[0] + "/" for name in below if "/" in name}
    files = {name: body for name, body in below.items() if "/" not in name}
    entries = "".join(
        f"<Contents><Key>{escape(prefix + name)}</Key><Size>{len(body)}</Size>"
        "<LastModified>2026-11-01T00:00:00.000Z</LastModified></Contents>"
        for name, body in files.items()
    )
    entries += "".join(
        f"<CommonPrefixes><Prefix>{escape(prefix + name)}</Prefix></CommonPrefixes>" for name in sorted(folders)
    )
    count = f"<KeyCount>{len(files) + len(folders)}</KeyCount><IsTruncated>false</IsTruncated>"
    return f"<ListBucketResult><Name>speech</Name>{count}{entries}</ListBucketResult>".encode()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Store) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "eu-central-1",
        }.items():
            monkeypatch.setenv(name, value)
        locations._s3.cache_clear()
        BUCKET.clear()
        yield BUCKET
        locations._s3.cache_clear()
        server.shutdown()
        thread.join()


def test_a_bucket_of_an_object_store(bucket: dict[str, bytes]) -> None:
    bucket["cases/manifest.jsonl"] = b'{"audio": "clips/a.wav", "text": "low"}\n'
    bucket["cases/clips/a.wav"] = wav("low")
    for uri in ("s3://speech/cases/manifest.jsonl", "s3://speech/cases"):
        (utterance,) = read_manifest(uri).utterances
        assert utterance.audio == "s3://speech/cases/clips/a.wav"
        clip = decode(utterance, RATE, None)
        assert clip.problem is None
        assert clip.seconds == pytest.approx(0.4)
    assert read_manifest(uri).path is None
    with pytest.raises(BadDataError, match="The manifest s3://speech/none does not exist"):
        read_manifest("s3://speech/none")
    with pytest.raises(BadDataError, match=r"s3://speech/secret.jsonl cannot be reached: .*ACCESS_DENIED"):
        read_manifest("s3://speech/secret.jsonl")


def rows(*words: str, **more: Any) -> list[dict[str, Any]]:
    return [
        {"audio": {"bytes": wav(word), "path": f"{word}.wav"}, "text": word, "speaker_id": 7, **more} for word in words
    ]


def write_arrow(path: Path, table: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = pa.Table.from_pylist(table)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, made.schema) as writer:
        writer.write_table(made)


def test_a_dataset_as_the_hub_keeps_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "README.md").write_text("a card")
    shards = {"train-00000-of-00002": ["low", "mid"], "train-00001-of-00002": ["high"], "test-00000-of-00001": ["top"]}
    for name, words in shards.items():
        pq.write_table(pa.Table.from_pylist(rows(*words)), data / f"{name}.parquet")
    manifest = read_manifest(str(tmp_path))
    assert sorted((u.text, u.split) for u in manifest.utterances) == [
        ("high", "train"), ("low", "train"), ("mid", "train"), ("top", "test"),
    ]  # fmt: skip
    assert all(decode(utterance, RATE, None).problem is None for utterance in manifest.utterances)
    pq.write_table(pa.Table.from_pylist(rows("low")), data / "extra-00000-of-00001.parquet")
    with pytest.raises(BadDataError, match="has a split 'extra'; known are train, validation, test"):
        read_manifest(str(tmp_path))


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        pytest.param(["train/", "validation/"], {"train", "validation"}, id="with splits"),
        pytest.param([""], {None}, id="without"),
    ],
)
def test_a_dataset_as_save_to_disk_writes_it(tmp_path: Path, folders: list[str], splits: set[str | None]) -> None:
    for folder in folders:
        write_arrow(tmp_path / f"{folder}data-00000-of-00002.arrow", rows("low"))
        write_arrow(tmp_path / f"{folder}data-00001-of-00002.arrow", rows("mid"))
        (tmp_path / folder / "dataset_info.json").write_text("{}")
        (tmp_path / folder / "state.json").write_text(json.dumps({"_data_files": []}))
    if len(folders) > 1:
        (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "validation"]}))
    manifest = read_manifest(str(tmp_path))
    assert {utterance.split for utterance in manifest.utterances} == splits
    assert len(manifest.utterances) == 2 * len(folders)
    assert decode(manifest.utterances[0], RATE, None).seconds == pytest.approx(0.4)


def test_a_dataset_with_other_columns_says_which(tmp_path: Path) -> None:
    for part in (0, 1):
        table = [{"audio": {"bytes": b"", "path": "a"}, "sentence": "low", "client_id": "x"}]
        pq.write_table(pa.Table.from_pylist(table), tmp_path / f"train-0000{part}-of-00002.parquet")
    with pytest.raises(BadDataError, match="has no column 'text'; it has: audio, sentence, client_id"):
        read_manifest(str(tmp_path))


def test_the_hub_without_a_network_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(BadDataError, match=r"The manifest hf://datasets/team/cases cannot be reached: .*offline"):
        read_manifest("hf://datasets/team/cases")
