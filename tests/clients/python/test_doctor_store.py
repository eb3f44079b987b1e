"""`assetd doctor` and the store itself: what it prints, what it changes, how it ends."""

import fcntl
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from assetd.cli import main
from assetd.cli.stored import age_text
from assetd.v1.asset_service_pb2 import ListResponse
from assetd.v1.cache_service_pb2 import GetCacheStatusResponse
from assetd_server.store.index_repair import some_of
from assetd_server.store.local.root import LOCK_COUNT

from tests.clients.python.conftest import Ended, Run
from tests.clients.python.scripted import ScriptedDaemon
from tests.support.command_line import ASSETD
from tests.support.daemon import environment
from tests.support.waiting import wait_until

CLAIM = {
    "format": 1,
    "state": "open",
    "kind": "file",
    "digest": f"sha256:{'0' * 64}",
    "push_id": "6f0e6a2e-6d1c-4a51-9f0e-0d0b8f8a7c11",
    "id": "0" * 32,
    "owner": "a-dead-host",
    "time": "2020-01-01T00:00:00+00:00",
    "files": {},
    "pushed_by": "somebody",
    "uploads": [],
    "nonce": "1" * 32,
}
META = {"push_date": "2026-11-01T12:00:00+00:00", "is_directory": False}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store in a folder, which the environment names: with a claim, and with an unlisted version.

    An upload has begun in it, too.
    """
    root = tmp_path / "store"
    put(root / "nlp/ranker.versions", {"versions": ["0.0"]})
    for version in ("0.0", "0.1"):
        put(root / f"nlp/ranker/{version}", {})
        put(root / f"nlp/ranker/{version}.meta", META)
    put(root / ".assetd/claims/nlp/ranker/0.2", CLAIM)
    put(root / ".assetd/claims/nlp/ranker/0.0", CLAIM)
    put(root / "nlp/ranker/0.3", {})
    uploads = root / ".assetd/store/uploads"
    put(uploads / ("f" * 32), {})
    (uploads / f"{'f' * 32}.key").symlink_to("nlp/ranker/0.4")
    monkeypatch.setenv("ASSETD_STORE", f"file://{root}")
    return root


def put(path: Path, document: object) -> None:
    """Write a document."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


@pytest.fixture
def doctor(daemon: ScriptedDaemon, store: Path, run: Run) -> Run:
    """Runs `assetd doctor` with a daemon that has the same store."""
    daemon.status = GetCacheStatusResponse(store=f"file://{store}")

    def run_doctor(*arguments: str) -> Ended:
        daemon.list_pages.extend([ListResponse(), ListResponse()])
        return run("doctor", *arguments)

    return run_doctor


def objects(out: str) -> list[dict[str, Any]]:
    """What was printed in JSON."""
    return [json.loads(line) for line in out.splitlines()]


def lines(out: str, check: str) -> list[str]:
    """The lines of one check."""
    return [line for line in out.splitlines() if line[6:16].strip() == check]


def files(root: Path) -> set[str]:
    """Every file of the store but its own."""
    found = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    return {path for path in found if not path.startswith(".assetd/store/")}


def test_it_looks_the_store_through(doctor: Run, store: Path) -> None:
    """Probe, claims, uploads and what does not fit, a line each; nothing is changed."""
    before = files(store)
    ended = doctor()
    assert ended.err == ""
    assert len(lines(ended.out, "probe")) == 12
    assert all(line.startswith("ok ") for line in lines(ended.out, "probe"))
    assert "1 asset, 1 version, 1 claim, 1 unfinished upload" in lines(ended.out, "bucket")[0]
    [claim] = lines(ended.out, "claim")
    assert claim.startswith("warn")
    assert "nlp/ranker:0.2  open  by a-dead-host" in claim
    assert "nlp/ranker/0.4" in lines(ended.out, "upload")[0]
    assert "nlp/ranker:0.1" in lines(ended.out, "unlisted")[0]
    assert "nlp/ranker:0.3  1 part" in lines(ended.out, "orphaned")[0]
    assert "nlp/ranker:0.0" in lines(ended.out, "litter")[0]
    assert files(store) == before


def test_it_prints_what_the_text_shows_for_programs(doctor: Run) -> None:
    """An object a line, with the values beside the text."""
    found = {told["check"]: told for told in objects(doctor("--json", "--no-probe").out)}
    assert "probe" not in found
    claim = found["claim"]
    assert (claim["asset"], claim["version"], claim["claim_state"]) == ("nlp/ranker", "0.2", "open")
    assert (claim["owner"], claim["push_id"]) == ("a-dead-host", CLAIM["push_id"])
    assert claim["age_seconds"] > 100_000_000
    assert (found["upload"]["key"], found["upload"]["upload_id"]) == ("nlp/ranker/0.4", "f" * 32)
    assert (found["orphaned"]["version"], found["orphaned"]["part_count"]) == ("0.3", 1)


def test_without_the_probe_it_writes_nothing(doctor: Run, store: Path) -> None:
    """Not even a key that would be removed again, or a folder for one."""
    assert lines(doctor("--no-probe").out, "probe") == []
    assert not (store / ".assetd/probe").exists()


def test_it_mends_what_it_is_told_to(doctor: Run, store: Path) -> None:
    """Index, litter, claims and uploads; parts stay where they are."""
    ended = doctor("--no-probe", "--repair", "--release-older-than", "24h")
    mended = [line[18:] for line in lines(ended.out, "mended")]
    assert mended == [
        "removed the claim on nlp/ranker:0.0",
        "listed nlp/ranker:0.1",
        "released the claim on nlp/ranker:0.2",
    ]
    assert json.loads((store / "nlp/ranker.versions").read_text())["versions"] == ["0.1", "0.0"]
    claims = store / ".assetd/claims/nlp/ranker"
    assert [path.name for path in claims.iterdir()] == ["0.2"]
    assert json.loads((claims / "0.2").read_text())["state"] == "released"
    assert (store / "nlp/ranker/0.3").exists()
    ended = doctor("--no-probe", "--release-older-than", "0s")
    assert lines(ended.out, "mended") == ["ok    mended      aborted the upload of nlp/ranker/0.4"]
    assert list((store / ".assetd/store/uploads").iterdir()) == []


def test_a_prefix_limits_all_of_it(doctor: Run, store: Path) -> None:
    """What is looked at, and what is mended."""
    ended = doctor("--no-probe", "--prefix", "vision/", "--repair", "--release-older-than", "0s")
    assert lines(ended.out, "mended") == []
    assert "0 assets, 0 versions, 0 claims" in lines(ended.out, "bucket")[0]
    assert (store / ".assetd/claims/nlp/ranker/0.0").exists()


def test_what_is_listed_and_missing_fails(doctor: Run, store: Path) -> None:
    """Exit code 8: a reader would find nothing."""
    assert lines(doctor("--no-probe").out, "missing") == []
    (store / "nlp/ranker/0.0.meta").unlink()
    ended = doctor("--no-probe")
    assert ended.code == 8
    assert lines(ended.out, "missing")[0].startswith("fail")


def test_what_is_not_whole_fails(doctor: Run, store: Path) -> None:
    """Exit code 8, with the version, what it lacks, and what to do; nothing is changed."""
    put(store / "nlp/ranker.versions", {"versions": ["0.1", "0.0"]})
    assert doctor("--no-probe").code == 0
    (store / "nlp/ranker/0.1.meta").write_text(json.dumps(META)[:-1])
    (store / "nlp/ranker/0.0").unlink()
    before = files(store)
    ended = doctor("--no-probe", "--repair")
    assert ended.code == 8
    [manifest] = lines(ended.out, "manifest")
    assert manifest.startswith("fail")
    assert "nlp/ranker:0.1  the manifest nlp/ranker/0.1.meta cannot be believed" in manifest
    assert "(BAD_MANIFEST); nobody can fetch this version: restore the .meta" in manifest
    [incomplete] = lines(ended.out, "incomplete")
    assert incomplete.startswith("fail")
    assert "nlp/ranker:0.0  lacks 1 object" in incomplete
    assert "another size of: nlp/ranker/0.0; " in incomplete
    assert files(store) == before
    found = {told["check"]: told for told in objects(doctor("--no-probe", "--json").out)}
    assert found["incomplete"]["lacks"] == ["nlp/ranker/0.0"]
    assert (found["manifest"]["version"], found["manifest"]["reason"]) == ("0.1", "BAD_MANIFEST")


def test_a_claim_that_cannot_be_read_fails(doctor: Run, store: Path) -> None:
    """It keeps everybody from pushing to the asset."""
    put(store / ".assetd/claims/nlp/ranker/0.2", {})
    [told] = lines(doctor("--no-probe").out, "claim")
    assert told.startswith("fail")
    assert "nobody can push to the asset" in told


@pytest.mark.parametrize(
    ("count", "text"), [(1, "0"), (5, "0, 1, 2, 3, 4"), (7, "0, 1, 2, 3, 4 and 2 more")]
)
def test_of_many_keys_some_are_named(count: int, text: str) -> None:
    """A version may lack thousands, and a line is for people."""
    assert some_of([str(number) for number in range(count)]) == text


def test_a_damaged_index_fails_until_it_is_repaired(doctor: Run, store: Path) -> None:
    """Without `--repair` nothing is written, and the line says that it would be; with it, once."""
    index = store / "nlp/ranker.versions"
    index.write_text('{"versions": ["0.')
    [told] = lines(doctor("--no-probe").out, "index")
    assert told.startswith("fail")
    assert "nlp/ranker  the index nlp/ranker.versions cannot be believed: it is not JSON" in told
    assert "(BAD_INDEX); --repair writes it anew" in told
    assert told.endswith(": 2 versions")
    assert index.read_text() == '{"versions": ["0.'
    ended = doctor("--no-probe", "--repair")
    assert ended.code == 8
    assert "renewed the index of nlp/ranker" in lines(ended.out, "mended")[0]
    assert json.loads(index.read_text()) == {"versions": ["0.1", "0.0"]}
    ended = doctor("--no-probe", "--repair")
    assert (ended.code, lines(ended.out, "index"), lines(ended.out, "mended")) == (0, [], [])


def test_manifests_of_two_systems_are_told_and_left(doctor: Run, store: Path) -> None:
    """The line names them by system, and says what to delete; then the index can be repaired."""
    index, dated = store / "nlp/ranker.versions", store / "nlp/ranker/2026-11-23T09-30-00Z.meta"
    put(dated, META)
    put(dated.with_suffix(""), {})
    put(index, {"versions": ["2026-11-23T09-30-00Z", "0.0"]})
    ended = doctor("--no-probe", "--repair", "--json")
    found = [told for told in objects(ended.out) if told["state"] == "fail"]
    assert [told["check"] for told in found] == ["index", "mended"]
    assert (found[0]["asset"], found[0]["reason"]) == ("nlp/ranker", "MIXED_VERSIONING")
    for told in found:
        assert "by number (0.1, 0.0) and by date (2026-11-23T09-30-00Z)" in told["text"]
        assert "delete by hand" in told["text"]
    assert ended.code == 8
    dated.unlink()
    doctor("--no-probe", "--repair")
    assert json.loads(index.read_text()) == {"versions": ["0.1", "0.0"]}


def test_another_store_than_the_daemons_is_told(
    doctor: Run, daemon: ScriptedDaemon, tmp_path: Path
) -> None:
    """Half of what goes wrong is looking at another place than the daemon does."""
    assert len(lines(doctor("--no-probe").out, "store")) == 1
    other = tmp_path / "other"
    other.mkdir()
    ended = doctor("--no-probe", "--store", f"file://{other}")
    assert f"for the daemon, and file://{other} here" in lines(ended.out, "store")[1]
    daemon.status.store = f"file://{other}/"
    assert len(lines(doctor("--no-probe", "--store", f"file://{other}").out, "store")) == 1


@pytest.mark.usefixtures("store")
def test_it_needs_no_daemon(socket: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A store can be looked after from where none runs."""
    assert main(["--address", f"unix://{socket}", "doctor", "--no-probe"]) == 8
    out = capsys.readouterr().out
    assert lines(out, "daemon")[0].startswith("fail")
    assert lines(out, "claim")


def test_a_store_that_cannot_be_looked_at_fails(
    doctor: Run, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the reason; and a fault of the configuration is told as `assetd serve` tells it."""
    store.rename(store.with_name("moved"))
    ended = doctor()
    assert (ended.code, lines(ended.out, "store")[1][:4]) == (8, "fail")
    assert "(STORE_UNAVAILABLE)" in lines(ended.out, "store")[1]
    assert not store.exists()
    monkeypatch.setenv("ASSETD_STORE", "ftp://somewhere")
    ended = doctor()
    assert ended.code == 8
    assert "ASSETD_STORE='ftp://somewhere' is no store" in lines(ended.out, "store")[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--release-older-than", "soon"], "'soon' is no duration"),
        (["--prefix", "../x"], "no name of an asset begins with '../x'"),
    ],
)
def test_what_is_no_order_is_refused_before_anything_is_looked_at(
    run: Run, arguments: list[str], words: str
) -> None:
    """As wrong usage."""
    ended = run("doctor", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err


def test_whoever_asks_for_a_store_misses_one_that_is_not_configured(
    daemon: ScriptedDaemon, run: Run
) -> None:
    """Whoever does not ask hears nothing of it: many have no store to look at."""
    for arguments, failures in (([], 0), (["--repair"], 1)):
        daemon.list_pages.extend([ListResponse()])
        ended = run("doctor", *arguments)
        assert ended.out.count("no store is configured here") == failures


WITHOUT_SERVER = """
import sys
sys.modules["assetd_server"] = None
from assetd.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [([], 8, ""), (["--repair"], 2, "pip install 'assetd[server]'")],
)
def test_it_does_without_the_server(
    socket: Path, store: Path, arguments: list[str], code: int, words: str
) -> None:
    """Where `assetd[server]` is missing only what needs it is refused, with what to install."""
    command = [sys.executable, "-c", WITHOUT_SERVER, "--address", f"unix://{socket}", "doctor"]
    variables = environment({"ASSETD_STORE": f"file://{store}"})
    ended = subprocess.run(
        [*command, *arguments], env=variables, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == code
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr
    assert lines(ended.stdout, "claim") == []


@contextmanager
def all_locked(root: Path) -> Iterator[None]:
    """Hold all locks of a store, so that whoever replaces or removes a key waits."""
    locks = root / ".assetd/store/locks"
    locks.mkdir(parents=True)
    with ExitStack() as stack:
        for number in range(LOCK_COUNT):
            lock = stack.enter_context((locks / f"{number:02x}").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_an_interrupt_leaves_nothing_behind(socket: Path, tmp_path: Path) -> None:
    """Ctrl-C in the midst of the probe: exit code 130, no traceback, and no key."""
    root = tmp_path / "store"
    with all_locked(root):
        process = subprocess.Popen(
            [ASSETD, "--address", f"unix://{socket}", "doctor"],
            env=environment({"ASSETD_STORE": f"file://{root}"}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until(lambda: list(root.glob(".assetd/probe/*.stale")), "the probe to wait for a lock")
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err.strip()) == (130, "")
    assert lines(out, "probe") == []
    assert files(root) == set()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (59, "59 s"), (60, "1 min"), (7199, "1 h"), (86_400, "1 d"), (10**8, "1157 d")],
)
def test_ages_are_told_as_people_say_them(seconds: float, text: str) -> None:
    """In one unit: nobody needs more to decide."""
    assert age_text(seconds) == text
