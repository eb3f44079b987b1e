"""`make example` tells its story, of the real model, and leaves nothing behind."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.support.daemon import environment
from tests.support.left_clean import left_clean
from tests.support.waiting import LIMIT_SECONDS

pytestmark = [
    # One worker: each of these moves hundreds of megabytes.
    pytest.mark.xdist_group("example"),
    pytest.mark.needs_program("go", "versitygw"),
    pytest.mark.usefixtures("example_python", "real_model"),
]

SHOW = [sys.executable, "-W", "error", "-m", "examples.show"]
MODEL_BYTES = 91_618_861
NAMES = {"go-server", "python-server"}


def variables(scratch: Path) -> dict[str, str]:
    """Ours, with settings that are meant for another daemon, and a proxy that nobody is."""
    foreign = {
        "ASSETS_DIR": "/nowhere",
        "ASSETD_ADDRESS": "unix:///nowhere",
        "AWS_PROFILE": "nobody",
        "MODELKIT_STORAGE_FORCE_DOWNLOAD": "yes",
        "http_proxy": "http://127.0.0.1:9",
    }
    return environment({**foreign, "TMPDIR": str(scratch)})


@pytest.fixture(scope="module")
def story() -> str:
    """All that the show prints, which has come to its end."""
    with left_clean("example-") as scratch:
        shown = subprocess.run(
            SHOW, cwd=ROOT, env=variables(scratch), capture_output=True, text=True, timeout=250
        )
    assert (shown.returncode, shown.stderr) == (0, ""), shown.stdout
    return shown.stdout


def found(pattern: str, story: str) -> list[Any]:
    """What the lines of the story say, a match each."""
    return re.findall(f"^{pattern}$", story, re.MULTILINE)


def test_both_wait_for_one_download(story: str) -> None:
    """One began it and the other joined; it has one id, and its bytes have come once."""
    assert found(r"download +nlp/minilm:0\.0 .* of 91\.6 MB, 2 waiting", story)
    parts = found(r"  (\S+) (began|joined) download ([0-9a-f]+)", story)
    assert [part for _, part, _ in parts] == ["began", "joined"]
    assert {name for name, _, _ in parts} == NAMES
    assert parts[0][2] == parts[1][2]
    (carried,) = found(r".* the link has carried ([\d,]+),.*", story)
    assert MODEL_BYTES < int(carried.replace(",", "")) < 1.1 * MODEL_BYTES


def test_both_say_how_it_came(story: str) -> None:
    """From the store, to one path, and who joined."""
    came = found(r"(\S+): got asset=nlp/minilm:0\.0 source=store (.*) path=(\S+)", story)
    assert {name for name, _, _ in came} == NAMES
    assert sorted(facts for _, facts, _ in came) == [
        f"transferred={MODEL_BYTES} joined=false",
        f"transferred={MODEL_BYTES} joined=true",
    ]
    assert len({path for _, _, path in came}) == 1


def test_both_hold_it_until_they_stop(story: str) -> None:
    """An eviction is refused before, and not after; all end well."""
    assert set(found(r"hold +nlp/minilm:0\.0 by (\S+) since .*", story)) == NAMES
    assert found(r"nlp/minilm +0\.0 +(leased|evicted) .*", story) == ["leased", "evicted"]
    ended = found(r"(\w+): exit code (\d+)", story)
    assert ended == [("python", "0"), ("go", "0"), ("assetd", "0")]


def test_both_answer_with_it(story: str) -> None:
    """The cosines are those that the publishers of the model print."""
    cosines = found(r"  (\d\.\d{4})  .* / .*", story)
    assert cosines == ["0.6660", "0.1046", "0.1411"]
    assert '"dtype": "F32", "shape": [30522, 384], "bytes": 46881792' in story
    assert '{"id": 4633, "token": "weather"}' in story


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_all_of_it(number: signal.Signals, exit_code: int) -> None:
    """With the servers, the daemon and the S3 server; Ctrl-C reaches what a terminal started."""
    with (
        left_clean("example-") as scratch,
        subprocess.Popen(
            # What runs us may ignore SIGINT, as shells do for what they run in the background.
            ["env", "--default-signal=INT", *SHOW],
            cwd=ROOT,
            env=variables(scratch),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stderr is not None
        while not process.stdout.readline().startswith("Two model servers start"):
            assert process.poll() is None, process.stderr.read()
        os.killpg(process.pid, number)
        assert process.wait(LIMIT_SECONDS) == exit_code
        assert process.stderr.read() == ""


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    """A clone in which nothing was set up is told what to do, before anything starts."""
    shutil.copytree(ROOT / "examples/show", tmp_path / "examples/show")
    missing = subprocess.run(
        SHOW, cwd=tmp_path, env=variables(tmp_path), capture_output=True, text=True
    )
    assert (missing.returncode, missing.stdout) == (1, "")
    assert re.fullmatch(r"example: \S+ is missing: make model\n", missing.stderr)
