"""The command line where its standard streams are closed, full or broken."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from assetd.cli.streams import unfailing
from assetd.v1.cache_service_pb2 import EvictResponse

from tests.clients.python.scripted import (
    GUARD_SECONDS,
    Failure,
    ScriptedDaemon,
    completed,
    plays,
    progress,
    started,
)
from tests.clients.python.test_fast_path import put_file
from tests.clients.python.test_run import held

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

ASSETD = Path(sys.executable).with_name("assetd")
CLOSED = "2>&-"
UNWRITABLE = [CLOSED, "2>/dev/full", "2>&1 >/dev/null | true"]


def shell(
    daemon: ScriptedDaemon, redirections: str, *arguments: str, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Run a command with its streams as a shell redirects them."""
    # The status is that of the command, also where it stands in a pipe.
    script = f'set -o pipefail; "$@" {redirections}'
    return subprocess.run(
        ["bash", "-c", script, "bash", str(ASSETD), "--address", daemon.address, *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=GUARD_SECONDS,
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("redirection", UNWRITABLE)
def test_the_exit_code_needs_no_standard_error(
    daemon: ScriptedDaemon, redirection: str, unbuffered: str
) -> None:
    """What cannot be said is left out, and the kind of failure is told all the same."""
    daemon.resolves.append(Failure("NOT_FOUND", "ASSET_NOT_FOUND", "no such asset"))
    ended = shell(daemon, redirection, "resolve", "nlp/ranker", PYTHONUNBUFFERED=unbuffered)
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "", "")


class Interrupted(io.FileIO):
    """A file that writes three bytes at a time, and is interrupted right after each line."""

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write what a pipe that is nearly full might take."""
        part = bytes(data)[:3]
        written = super().write(part)
        if part.endswith(b"\n"):
            raise KeyboardInterrupt
        return written


def test_a_line_is_written_once(tmp_path: Path) -> None:
    """All of it, and also where an interrupt comes just then."""
    path = tmp_path / "lines"
    with io.TextIOWrapper(io.BufferedWriter(Interrupted(path, "w"))) as stream:
        ours = unfailing(stream)
        for line in ("once\n", "twice\n"):
            with pytest.raises(KeyboardInterrupt):
                ours.write(line)
        ours.close()
    assert path.read_text() == "once\ntwice\n"


@pytest.mark.parametrize("redirection", UNWRITABLE)
def test_what_was_done_is_done(daemon: ScriptedDaemon, redirection: str) -> None:
    """Also where the words about it are lost."""
    daemon.evicts.append(EvictResponse())
    assert shell(daemon, redirection, "evict", "--prefix", "nlp/").returncode == 0
    daemon.fetches.append(plays(started(), progress(10), progress(50), completed()))
    assert shell(daemon, redirection, "fetch", "nlp/ranker", "--progress", "lines").returncode == 0
    assert shell(daemon, redirection, "no-such-command").returncode == 2


@pytest.mark.parametrize("redirections", [">&-", CLOSED, "<&- >&- 2>&-"])
def test_a_program_starts_where_streams_are_closed(
    daemon: ScriptedDaemon, tmp_path: Path, redirections: str
) -> None:
    """As cron and daemons do; what it writes reaches none of the files that are open meanwhile."""
    weights = put_file(tmp_path, "nlp/weights", "0.1")
    daemon.fetches.append(held(weights, "nlp/weights", "0.1"))
    where = tmp_path / "streams"
    words = f'echo lost >&2; echo lost; readlink /proc/$$/fd/1 /proc/$$/fd/2 >"{where}"'
    before = weights.read_bytes()
    ended = shell(daemon, redirections, "run", "nlp/weights", "--", "sh", "-c", words)
    assert ended.returncode == 0
    assert weights.read_bytes() == before
    assert str(weights) not in where.read_text()


def test_specs_from_a_standard_input_that_is_closed(daemon: ScriptedDaemon) -> None:
    """Nobody said that there are none."""
    ended = shell(daemon, "<&-", "prefetch", "-")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "standard input is closed" in ended.stderr
