"""`assetd push`: what its options ask for, and what it prints."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from assetd.cli import main
from assetd.v1 import asset_pb2
from assetd.v1.asset_service_pb2 import (
    PushAccepted,
    PushCompleted,
    PushHeader,
    PushRequest,
    PushResponse,
)

from tests.clients.python.conftest import Ended, Run
from tests.clients.python.scripted import (
    GUARD_SECONDS,
    VERSION,
    Context,
    Failure,
    PushScript,
    ScriptedDaemon,
)
from tests.support.command_line import start

# It asks to be left alone for longer than any patience lasts.
DOWN = Failure("UNAVAILABLE", "STORE_UNAVAILABLE", "down", retry_after_seconds=3600)
PUSH_ID = "4fb0a3e2-3a1c-4d5e-8f60-718293a4b5c6"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with a log that nobody wants."""
    root = tmp_path / "model"
    root.mkdir()
    (root / "weights").write_bytes(b"w" * 100)
    (root / "train.log").write_text("epoch 1")
    return root


def describes(completed: PushCompleted, daemon: ScriptedDaemon) -> None:
    """Have the daemon answer the next push with that."""

    def script(requests: Iterator[PushRequest], _: Context) -> Iterator[PushResponse]:
        next(requests)
        yield PushResponse(accepted=PushAccepted(version="1.2"))
        yield PushResponse(completed=completed)

    daemon.pushes.append(script)


def test_every_option_has_its_field(daemon: ScriptedDaemon, run: Run, model: Path) -> None:
    """A label's value may have an equals sign, or be empty."""
    labels = ("--label", "git=a1b2", "--label", "url=?a=b", "--label", "note=")
    ended = run("push", str(model), "nlp/ranker", *labels, "--push-id", PUSH_ID.upper())
    assert ended == Ended(0, "nlp/ranker:1.3\n", "")
    (record,) = daemon.push_records
    assert dict(record.header.labels) == {"git": "a1b2", "url": "?a=b", "note": ""}
    assert record.header.push_id == PUSH_ID
    assert not record.header.validate_only


def test_excluded_files_are_left_out(daemon: ScriptedDaemon, run: Run, model: Path) -> None:
    """Also what would be refused."""
    (model / "latest").symlink_to("weights")
    run("push", str(model), "nlp/ranker", "--exclude", "*.log", "--exclude", "latest")
    assert [file.path for file in daemon.push_records[0].files] == ["weights"]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["run-7/model", "--staged"], "staged_path"),
        (["s3://training/run-7", "--label", "by=ci"], "source_uri"),
        (["file:///srv/model", "--dry-run"], "source_uri"),
    ],
    ids=["staged", "s3", "file"],
)
def test_the_daemon_is_told_where_to_look(
    daemon: ScriptedDaemon, run: Run, arguments: list[str], field: str
) -> None:
    """Nothing of that need be here."""
    path, *options = arguments
    assert run("push", path, "nlp/ranker", *options).code == 0
    (record,) = daemon.push_records
    assert record.header.WhichOneof("content") == field
    assert getattr(record.header, field) == path
    assert record.header.validate_only == ("--dry-run" in options)


def test_a_dry_run_says_what_would_be(daemon: ScriptedDaemon, run: Run, model: Path) -> None:
    """A line for each thing that a pusher would look at."""
    version = asset_pb2.AssetVersion()
    version.CopyFrom(VERSION)
    version.labels.update({"git": "a1b2", "by": "ci\x1b[31m"})
    describes(PushCompleted(asset_version=version, already_existed=True), daemon)
    ended = run("push", str(model), "nlp/ranker", "--dry-run")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "version         nlp/ranker:1.2",
        "kind            directory",
        "files           2",
        "size            100 bytes",
        f"digest          {VERSION.digest}",
        "labels          by=ci\\x1b[31m",
        "                git=a1b2",
        "exists already  yes, with this content",
    ]


def test_a_dry_run_says_what_it_does_not_know(
    daemon: ScriptedDaemon, run: Run, model: Path
) -> None:
    """Which is not zero; and it sends no byte."""
    ended = run("push", str(model), "nlp/ranker", "--dry-run")
    lines = dict(line.split("  ", 1) for line in ended.out.splitlines())
    assert {title: text.strip() for title, text in lines.items()} == {
        "version": "nlp/ranker:1.3",
        "kind": "?",
        "files": "?",
        "size": "?",
        "digest": "?",
        "exists already": "no",
    }
    assert "chunk" not in daemon.push_records[0].steps


def test_a_dry_run_prints_events_as_json(run: Run, model: Path) -> None:
    """As every push does, and nothing else."""
    ended = run("push", str(model), "nlp/ranker", "--dry-run", "--json")
    events = [json.loads(line) for line in ended.out.splitlines()]
    assert [list(event) for event in events] == [["accepted"], ["wanted"], ["completed"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/", "--label", "git"], "'git' is no label: write key=value"),
        (["/", "--label", "=a1b2"], "'=a1b2' is no label"),
        (["/", "--label", "a=1", "--label", "a=2"], "'a' is given twice"),
        (["/", "--push-id", "7"], "'7' is not a valid UUID"),
        (["model", "--staged", "--exclude", "*"], "--exclude is for a folder that is read here"),
        (["s3://a/b", "--exclude", "*"], "--exclude is for a folder that is read here"),
        (["s3://a/b", "--staged"], "PATH is a URI"),
        (["/nowhere/at/all"], "'/nowhere/at/all' does not exist"),
    ],
)
def test_a_mistake_in_the_usage_is_told(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    """With exit code 2, before anything is done."""
    path, *options = arguments
    assert main(["push", path, "nlp/ranker", *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err


def test_nothing_left_to_push_is_told(run: Run, model: Path) -> None:
    """By the exit code of an argument that is none."""
    assert run("push", str(model), "nlp/ranker", "--exclude", "**") == Ended(
        2,
        "",
        f"assetd: {model} has no file that is not excluded, which no asset can hold "
        "(INVALID_PART)\n",
    )


def test_an_interrupt_ends_the_hash_pass(daemon: ScriptedDaemon, tmp_path: Path) -> None:
    """At once, however much there is to hash yet; nothing was sent."""
    for number in range(3):
        with (tmp_path / f"large-{number}").open("wb") as file:
            file.truncate(1 << 42)
    command = ("push", tmp_path, "nlp/large", "--progress", "lines")
    process = start(*command, address=daemon.address)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("assetd: hash 0 %")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=GUARD_SECONDS)
    assert (process.returncode, out, err.strip()) == (130, "", "")
    assert daemon.push_records == []


@pytest.mark.parametrize("options", [[], ["--push-id", PUSH_ID]], ids=["new", "again"])
def test_a_push_with_an_open_end_says_how_to_go_on(
    daemon: ScriptedDaemon, run: Run, model: Path, options: list[str]
) -> None:
    """Nobody knows whether it is done: only the same push finds out, and makes it once."""
    headers: list[PushHeader] = []
    daemon.pushes.append(ends_with(DOWN, headers))
    ended = run("push", str(model), "nlp/ranker", *options)
    (header,) = headers
    assert not options or header.push_id == PUSH_ID
    assert (ended.code, ended.out) == (5, "")
    assert ended.err.splitlines() == [
        f"assetd: the same push with --push-id {header.push_id} goes on, or tells that it is done",
        "assetd: down (STORE_UNAVAILABLE)",
    ]


@pytest.mark.parametrize(
    ("failure", "options", "code"),
    [
        (Failure("ALREADY_EXISTS", "VERSION_EXISTS", "taken"), [], 4),
        (DOWN, ["--dry-run"], 5),
        (DOWN, ["--json"], 5),
    ],
    ids=["refused", "dry run", "json"],
)
def test_there_is_not_always_something_to_go_on_with(
    daemon: ScriptedDaemon, run: Run, model: Path, failure: Failure, options: list[str], code: int
) -> None:
    """One line says why it failed; as JSON the event `accepted` has the id."""
    daemon.pushes.append(ends_with(failure, []))
    ended = run("push", str(model), "nlp/ranker", *options)
    assert (ended.code, len(ended.err.splitlines())) == (code, 1)


def ends_with(failure: Failure, headers: list[PushHeader]) -> PushScript:
    """A push that fails once it is accepted; its header is kept."""

    def script(requests: Iterator[PushRequest], context: Context) -> Iterator[PushResponse]:
        headers.append(next(requests).header)
        yield PushResponse(accepted=PushAccepted(version="1.3"))
        failure.end(context)

    return script
