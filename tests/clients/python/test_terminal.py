"""The command line as a process of its own: on a terminal, in a pipe, and interrupted."""

import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from assetd.v1.asset_service_pb2 import (
    FetchRequest,
    FetchResponse,
    ListResponse,
    PushCompleted,
    PushProgress,
    PushRequest,
    PushResponse,
    ResolveVersionResponse,
)
from assetd.v1.cache_service_pb2 import VerifyResult

from tests.clients.python.scripted import (
    GUARD_SECONDS,
    PATH,
    VERSION,
    Context,
    Failure,
    OpenFetch,
    ScriptedDaemon,
    all_checked,
    checked,
    checks,
    completed,
    hashed,
    plays,
    progress,
    started,
)

ASSETD = Path(sys.executable).with_name("assetd")
DAMAGED = VerifyResult.OUTCOME_DAMAGED


class Terminal:
    """A terminal, and what was drawn on it."""

    def __init__(self) -> None:
        self._ours, self.theirs = pty.openpty()
        self._drawn = b""

    def read_until(self, text: str) -> None:
        """Read until a text is drawn."""
        while text.encode() not in self._drawn:
            self._drawn += os.read(self._ours, 65536)

    def read_all(self) -> str:
        """Read until all who wrote have gone; return all that was ever drawn."""
        os.close(self.theirs)
        try:
            while data := os.read(self._ours, 65536):
                self._drawn += data
        except OSError:  # how Linux tells the end of a terminal
            pass
        os.close(self._ours)
        return self._drawn.decode()


@pytest.fixture
def terminal_environment() -> dict[str, str]:
    """A plain terminal of 120 columns, whatever the tests run in."""
    kept = {k: v for k, v in os.environ.items() if k not in {"NO_COLOR", "FORCE_COLOR"}}
    return {**kept, "TERM": "xterm-256color", "COLUMNS": "120"}


def start(daemon: ScriptedDaemon, *arguments: str, **options: object) -> subprocess.Popen[str]:
    """Start a command against the scripted daemon."""
    command = [str(ASSETD), "--address", daemon.address, *arguments]
    return subprocess.Popen(command, text=True, **options)  # type: ignore[call-overload,no-any-return]


def test_the_bar_is_drawn_while_the_path_is_captured(
    daemon: ScriptedDaemon, terminal_environment: dict[str, str]
) -> None:
    """`MODEL=$(assetd fetch ...)` at a terminal: the bar there, the path in the variable."""
    go_on = threading.Event()

    def script(_: FetchRequest, __: Context) -> Iterator[FetchResponse]:
        yield started()
        yield progress(40, silent_seconds=9)
        assert go_on.wait(GUARD_SECONDS)
        yield completed()

    daemon.fetches.append(script)
    terminal = Terminal()
    process = start(
        daemon,
        *("fetch", "nlp/ranker[vocab]"),
        stdout=subprocess.PIPE,
        stderr=terminal.theirs,
        env=terminal_environment,
    )
    terminal.read_until("40/100 bytes")
    go_on.set()
    drawn = terminal.read_all()
    out, _ = process.communicate(timeout=GUARD_SECONDS)
    assert (process.returncode, out) == (0, f"{PATH}\n")
    assert "nlp/ranker[vocab]" in drawn
    assert "downloading, no byte for 9 s" in drawn
    assert "100/100 bytes" in drawn, "a bar that ends well ends full"
    assert "\x1b[?25h" in drawn, "the cursor is back"
    assert daemon.fetch_requests[0].progress_interval.nanos == 100_000_000


def test_a_hit_draws_nothing(daemon: ScriptedDaemon, terminal_environment: dict[str, str]) -> None:
    """Nothing flashes where there is nothing to wait for."""
    daemon.fetches.append(plays(started(), completed()))
    terminal = Terminal()
    process = start(
        daemon,
        "fetch",
        "nlp/ranker",
        stderr=terminal.theirs,
        stdout=subprocess.DEVNULL,
        env=terminal_environment,
    )
    assert terminal.read_all() == ""
    assert process.wait(GUARD_SECONDS) == 0


def told(phase: PushProgress.Phase.ValueType, *, stored: int) -> PushResponse:
    """How far the daemon says that a push is."""
    return PushResponse(progress=PushProgress(phase=phase, stored_bytes=stored))


def test_a_push_draws_a_bar_for_each_phase(
    daemon: ScriptedDaemon, terminal_environment: dict[str, str], tmp_path: Path
) -> None:
    """And prints the version apart from them. The commit has no figures, and claims none."""
    go_on = threading.Event()

    def script(requests: Iterator[PushRequest], _: Context) -> Iterator[PushResponse]:
        next(requests)
        yield told(PushProgress.PHASE_STORING, stored=40)
        assert go_on.wait(GUARD_SECONDS)
        yield told(PushProgress.PHASE_COMMITTING, stored=100)
        yield PushResponse(completed=PushCompleted(asset_version=VERSION))

    daemon.pushes.append(script)
    (tmp_path / "weights").write_bytes(b"w" * 100)
    terminal = Terminal()
    process = start(
        daemon,
        *("push", str(tmp_path / "weights"), "nlp/weights"),
        stdout=subprocess.PIPE,
        stderr=terminal.theirs,
        env=terminal_environment,
    )
    terminal.read_until("40/100 bytes")
    go_on.set()
    drawn = terminal.read_all()
    out, _ = process.communicate(timeout=GUARD_SECONDS)
    assert (process.returncode, out) == (0, "nlp/weights:1.2\n")
    for row in ("hash", "upload", "commit"):
        assert f"{row} " in drawn
    assert "100/100 bytes" in drawn
    assert "0/? bytes" not in drawn


@pytest.mark.parametrize("phase", ["hash", "upload", "commit"])
def test_an_interrupt_gives_a_push_up_in_every_phase(
    daemon: ScriptedDaemon, terminal_environment: dict[str, str], tmp_path: Path, phase: str
) -> None:
    """Exit code 130, the terminal as it was, the call gone; no process that reads on."""
    left = threading.Event()

    def script(requests: Iterator[PushRequest], context: Context) -> Iterator[PushResponse]:
        context.add_callback(left.set)
        next(requests)
        yield told(PushProgress.PHASE_STORING, stored=40)
        if phase == "commit":
            yield told(PushProgress.PHASE_COMMITTING, stored=100)
        assert left.wait(GUARD_SECONDS)

    daemon.pushes.append(script)
    with (tmp_path / "weights").open("wb") as weights:
        # Nobody hashes a sparse file of 4 TiB within a test.
        weights.truncate(1 << 42 if phase == "hash" else 100)
    terminal = Terminal()
    process = start(
        daemon,
        *("push", str(tmp_path / "weights"), "nlp/weights"),
        stdout=subprocess.PIPE,
        stderr=terminal.theirs,
        env=terminal_environment,
    )
    terminal.read_until(f"{phase} ")
    process.send_signal(signal.SIGINT)
    drawn = terminal.read_all()
    out, _ = process.communicate(timeout=GUARD_SECONDS)
    assert (process.returncode, out) == (130, "")
    assert "\x1b[?25h" in drawn, "the cursor is back"
    assert "Traceback" not in drawn
    if phase == "hash":
        assert len(daemon.pushes) == 1, "nothing was sent"
    else:
        assert left.wait(GUARD_SECONDS)


def test_a_failed_fetch_leaves_the_terminal_as_it_was(
    daemon: ScriptedDaemon, terminal_environment: dict[str, str]
) -> None:
    """The cursor is back, and the error stands below a bar that is not full."""
    failure = Failure("DATA_LOSS", "DIGEST_MISMATCH", "moths")
    daemon.fetches.append(plays(started(), progress(40), failure))
    terminal = Terminal()
    process = start(
        daemon,
        *("fetch", "nlp/ranker"),
        stdout=subprocess.PIPE,
        stderr=terminal.theirs,
        env=terminal_environment,
    )
    drawn = terminal.read_all()
    out, _ = process.communicate(timeout=GUARD_SECONDS)
    assert (process.returncode, out) == (7, "")
    assert "40/100 bytes" in drawn
    assert "100/100" not in drawn
    assert "\x1b[?25h" in drawn
    assert drawn.endswith("assetd: moths (DIGEST_MISMATCH)\r\n")


def test_the_titles_of_a_table_stand_out(
    daemon: ScriptedDaemon, terminal_environment: dict[str, str]
) -> None:
    """On a terminal; a pipe gets plain text."""
    daemon.list_pages.append(ListResponse(entries=[ListResponse.Entry(asset_version=VERSION)]))
    terminal = Terminal()
    process = start(
        daemon,
        "list",
        stdout=terminal.theirs,
        stderr=subprocess.DEVNULL,
        env=terminal_environment,
    )
    titles, version = terminal.read_all().splitlines()
    assert process.wait(GUARD_SECONDS) == 0
    assert titles.startswith("\x1b[1mASSET ")
    assert version.startswith("nlp/ranker ")


def test_answers_wait_for_the_bars_of_their_terminal(
    daemon: ScriptedDaemon, terminal_environment: dict[str, str]
) -> None:
    """On one terminal they come below the bars; into a pipe each comes at once."""
    daemon.verifies.append(checks(hashed(40), checked("1.2", DAMAGED), hashed(90), all_checked()))
    terminal = Terminal()
    process = start(
        daemon,
        *("verify", "--all"),
        stdout=terminal.theirs,
        stderr=terminal.theirs,
        env=terminal_environment,
    )
    drawn = terminal.read_all()
    assert process.wait(GUARD_SECONDS) == 7
    assert drawn.endswith("damaged  nlp/ranker:1.2\r\n")
    assert "90/100 bytes" in drawn
    assert "100/100" not in drawn, "a check that found damage does not end full"


def test_several_fetches_have_a_bar_each(
    daemon: ScriptedDaemon, terminal_environment: dict[str, str]
) -> None:
    """And their answers go into the pipe."""
    daemon.fetches.extend([plays(started(), progress(40), completed())] * 2)
    terminal = Terminal()
    process = start(
        daemon,
        *("prefetch", "-"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=terminal.theirs,
        env=terminal_environment,
    )
    assert process.stdin is not None
    process.stdin.write("nlp/ranker\nnlp/other\n")
    process.stdin.close()
    drawn = terminal.read_all()
    assert process.stdout is not None
    assert sorted(process.stdout.read().splitlines()) == [
        f"nlp/other\t{PATH}",
        f"nlp/ranker\t{PATH}",
    ]
    process.stdout.close()
    assert process.wait(GUARD_SECONDS) == 0
    assert "nlp/ranker" in drawn
    assert "nlp/other" in drawn


@pytest.mark.parametrize("command", ["fetch", "push", "prefetch"])
def test_an_interrupt_leaves_nothing_behind(
    daemon: ScriptedDaemon, tmp_path: Path, command: str
) -> None:
    """Exit code 130, no traceback, no stream."""
    under_way = OpenFetch(started())
    daemon.fetches.append(under_way)
    arguments = ["fetch", "nlp/ranker"]
    if command == "push":
        fetch = daemon.fetches.popleft()
        daemon.pushes.append(lambda _, context: fetch(None, context))  # type: ignore[arg-type,return-value]
        (tmp_path / "weights").write_bytes(b"w")
        arguments = ["push", str(tmp_path / "weights"), "nlp/weights"]
    if command == "prefetch":
        (tmp_path / "assets.txt").write_text("nlp/ranker\n")
        arguments = ["prefetch", str(tmp_path / "assets.txt")]
    process = start(daemon, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert under_way.began.wait(GUARD_SECONDS)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=GUARD_SECONDS)
    assert process.returncode == 130
    assert (out, err.strip()) == ("", "")
    assert under_way.left.wait(GUARD_SECONDS)


def test_a_reader_who_has_seen_enough_is_no_error(daemon: ScriptedDaemon) -> None:
    """`assetd list | head -1` prints one line and no complaint."""
    page = ListResponse(entries=[ListResponse.Entry(asset_version=VERSION)] * 20_000)
    daemon.list_pages.append(page)
    process = start(daemon, "list", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith("ASSET")
    process.stdout.close()
    assert process.wait(GUARD_SECONDS) == 1
    assert process.stderr.read() == ""
    process.stderr.close()


def test_a_full_disk_is_one_line(daemon: ScriptedDaemon) -> None:
    """An answer that could not be written is a failure, not silence."""
    daemon.resolves.append(ResolveVersionResponse(asset_version=VERSION))
    with Path("/dev/full").open("w") as full:
        process = start(daemon, "resolve", "nlp/ranker", stdout=full, stderr=subprocess.PIPE)
        _, err = process.communicate(timeout=GUARD_SECONDS)
    assert (process.returncode, err) == (1, "assetd: No space left on device\n")


def test_serve_with_a_broken_server_hides_nothing() -> None:
    """What is missing then is not the server, and a hint to install it would mislead."""
    broken = (
        "import sys; sys.modules['structlog'] = None\n"
        "from assetd.cli import main; sys.exit(main(['serve']))"
    )
    ended = subprocess.run([sys.executable, "-c", broken], capture_output=True, text=True)
    assert ended.returncode == 1
    assert "structlog" in ended.stderr
    assert "pip install" not in ended.stderr
