"""`assetd run`: the paths go in, the process stays, and the leases live as long as it does."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from assetd.cli.run import quiet_grpc
from assetd.v1 import asset_pb2

from tests.clients.python.scripted import (
    GUARD_SECONDS,
    Failure,
    OpenFetch,
    ScriptedDaemon,
    completed,
    plays,
    started,
)
from tests.clients.python.test_fast_path import is_locked, put_directory, put_file

ASSETD = Path(sys.executable).with_name("assetd")
# What this process may have for itself; the last is the daemon's, once its modules are imported.
FOREIGN = {"ASSETS_DIR", "MODELKIT_ASSETS_DIR", "GRPC_VERBOSITY"}


def start(
    daemon: ScriptedDaemon, *arguments: str, assets_dir: Path | None = None
) -> "subprocess.Popen[str]":
    """Start `assetd run` against the scripted daemon."""
    kept = {k: v for k, v in os.environ.items() if k not in FOREIGN}
    return subprocess.Popen(
        [str(ASSETD), "--address", daemon.address, "run", *arguments],
        env={**kept, **({"ASSETS_DIR": str(assets_dir)} if assets_dir else {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def held(path: Path, name: str, version: str, part: str = "") -> OpenFetch:
    """A hit of the daemon's that is held."""
    answer = completed(f"{path}{part}", asset_pb2.AssetVersion(name=name, version=version))
    own = f"{name}/{version}" if version else name
    answer.completed.relative_path = f"{own}{part}"
    return OpenFetch(started(), answer)


@pytest.fixture
def versions(tmp_path: Path) -> tuple[Path, Path]:
    """A directory and a file."""
    return (
        put_directory(tmp_path, "nlp/ranker", "1.2"),
        put_file(tmp_path, "nlp/weights", "0.1"),
    )


def test_the_paths_are_filled_in(daemon: ScriptedDaemon, versions: tuple[Path, Path]) -> None:
    """By their order; braces that mean nothing here are left to the program."""
    ranker, weights = versions
    holds = [held(ranker, "nlp/ranker", "1.2", "/b/c"), held(weights, "nlp/weights", "0.1")]
    daemon.fetches.extend(holds)
    words = ["{path}", "a={0}:{1}", "{2}", "{}", '{"x": 1}', "{name}", "--", "-q"]
    process = start(daemon, "nlp/ranker:1[b/c]", "nlp/weights", "--", "printf", "%s\\n", *words)
    out, err = process.communicate(timeout=GUARD_SECONDS)
    assert (process.returncode, err) == (0, "")
    part = f"{ranker}/b/c"
    assert out.splitlines() == [part, f"a={part}:{weights}", *words[2:]]
    assert all(request.hold for request in daemon.fetch_requests)
    assert all(hold.left.wait(GUARD_SECONDS) for hold in holds)


def test_the_leases_live_as_long_as_the_program(
    daemon: ScriptedDaemon, versions: tuple[Path, Path]
) -> None:
    """What `assetd run` has fetched is leased until its program ends, however it goes.

    Of the same process, with the daemon away, until it is gone; however it goes.
    """
    ranker, weights = versions
    daemon.fetches.extend([held(ranker, "nlp/ranker", "1.2", "/a")])
    process = start(daemon, "nlp/ranker:1[a]", "--", "sh", "-c", "echo $$; read line")
    assert process.stdout is not None
    assert process.stdout.readline() == f"{process.pid}\n"
    daemon.stop()
    assert is_locked(ranker)
    assert not is_locked(weights)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=GUARD_SECONDS)
    assert not is_locked(ranker)


@pytest.mark.usefixtures("versions")
def test_a_pinned_version_needs_no_daemon(daemon: ScriptedDaemon, tmp_path: Path) -> None:
    """`assetd run` needs no daemon for a pinned version where ASSETS_DIR is known.

    Where ASSETS_DIR is known; the program takes over the exit code too.
    """
    daemon.stop()
    process = start(
        daemon, "nlp/weights:0.1", "--", "sh", "-c", "cat {path}; exit 42", assets_dir=tmp_path
    )
    out, err = process.communicate(timeout=GUARD_SECONDS)
    assert (process.returncode, out, err) == (42, "weights", "")


def test_a_mount_elsewhere_is_used(
    daemon: ScriptedDaemon, versions: tuple[Path, Path], tmp_path: Path
) -> None:
    """In a container whose ASSETS_DIR is not the daemon's."""
    daemon.fetches.append(held(Path("/elsewhere/nlp/weights/0.1"), "nlp/weights", "0.1"))
    process = start(daemon, "nlp/weights", "--", "cat", "{path}", assets_dir=tmp_path)
    out, _ = process.communicate(timeout=GUARD_SECONDS)
    assert (process.returncode, out) == (0, "weights")
    assert is_locked(versions[1]) is False


def test_a_cache_that_is_not_visible_is_told(daemon: ScriptedDaemon, tmp_path: Path) -> None:
    """Before anything is run, with what to do."""
    for assets_dir in (None, tmp_path):
        daemon.fetches.append(held(Path("/elsewhere/nlp/weights/0.1"), "nlp/weights", "0.1"))
        process = start(daemon, "nlp/weights", "--", "echo", "run", assets_dir=assets_dir)
        out, err = process.communicate(timeout=GUARD_SECONDS)
        assert (process.returncode, out) == (1, "")
        assert "/elsewhere/nlp/weights/0.1 is not visible" in err
        assert "ASSETS_DIR" in err


def test_a_version_that_cannot_be_leased_is_told(daemon: ScriptedDaemon, tmp_path: Path) -> None:
    """A link is never leased: nobody knows what it stands for."""
    (tmp_path / "link").symlink_to(tmp_path)
    daemon.fetches.append(held(tmp_path / "link", "link", ""))
    process = start(daemon, "link", "--", "echo", "run")
    out, err = process.communicate(timeout=GUARD_SECONDS)
    assert (process.returncode, out) == (1, "")
    assert "cannot be leased" in err


def test_a_fetch_that_fails_runs_nothing(daemon: ScriptedDaemon) -> None:
    """And ends as `assetd fetch` does."""
    daemon.fetches.append(plays(Failure("NOT_FOUND", "VERSION_NOT_FOUND", "no such version")))
    process = start(daemon, "nlp/ranker:7", "--", "echo", "run")
    out, err = process.communicate(timeout=GUARD_SECONDS)
    assert (process.returncode, out) == (3, "")
    assert err == "assetd: no such version (VERSION_NOT_FOUND)\n"


def test_an_interrupt_leaves_nothing_behind(
    daemon: ScriptedDaemon, versions: tuple[Path, Path]
) -> None:
    """Neither the fetch under way nor the holds of those before it."""
    first, under_way = held(versions[0], "nlp/ranker", "1.2"), OpenFetch(started())
    daemon.fetches.extend([first, under_way])
    process = start(daemon, "nlp/ranker", "nlp/weights", "--", "echo", "run")
    assert under_way.began.wait(GUARD_SECONDS)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=GUARD_SECONDS)
    assert (process.returncode, out, err.strip()) == (130, "", "")
    assert first.left.wait(GUARD_SECONDS)
    assert under_way.left.wait(GUARD_SECONDS)


def test_a_program_inside_the_version_is_run(
    daemon: ScriptedDaemon, versions: tuple[Path, Path]
) -> None:
    """Its name is a path that is still to come; one that cannot be run is told."""
    script = versions[0] / "serve.sh"
    for mode, code in ((0o755, 7), (0o644, 1)):
        script.write_text("#!/bin/sh\nexit 7\n")
        script.chmod(mode)
        daemon.fetches.append(held(versions[0], "nlp/ranker", "1.2"))
        process = start(daemon, "nlp/ranker", "--", "{path}/serve.sh")
        _, err = process.communicate(timeout=GUARD_SECONDS)
        assert process.returncode == code
    assert err == f"assetd: {script}: Permission denied\n"


def test_the_program_can_be_ended_by_a_pipe(
    daemon: ScriptedDaemon, versions: tuple[Path, Path]
) -> None:
    """Python ignores SIGPIPE; what takes its place does not inherit that."""
    daemon.fetches.append(held(versions[0], "nlp/ranker", "1.2"))
    process = start(daemon, "nlp/ranker", "--", "yes")
    assert process.stdout is not None
    assert process.stdout.readline() == "y\n"
    process.stdout.close()
    assert process.wait(GUARD_SECONDS) == -signal.SIGPIPE
    for stream in (process.stdin, process.stderr):
        assert stream is not None
        stream.close()


@pytest.mark.parametrize("chosen", [None, "DEBUG"])
def test_grpc_is_quiet_unless_somebody_wants_to_hear_it(
    monkeypatch: pytest.MonkeyPatch, chosen: str | None
) -> None:
    """What it would say while the program takes over is not the program's; nor is the variable."""
    monkeypatch.delenv("GRPC_VERBOSITY", raising=False)
    if chosen:
        monkeypatch.setenv("GRPC_VERBOSITY", chosen)
    with quiet_grpc():
        assert os.environ["GRPC_VERBOSITY"] == (chosen or "NONE")
    assert os.environ.get("GRPC_VERBOSITY") == chosen
