"""The command line against a daemon that the command line started: what a user sees of assetd."""

import json
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from assetd.v1 import asset_pb2
from assetd.v1.asset_service_pb2 import (
    FetchResponse,
    ListResponse,
    PushResponse,
    ResolveVersionResponse,
)
from assetd.v1.cache_service_pb2 import GetCacheStatusResponse
from google.protobuf.json_format import Parse

from tests.support.command_line import ASSETD, Ended, run, start
from tests.support.daemon import Daemon, Daemons, environment, running_daemons
from tests.support.proxied_store import proxied_store
from tests.support.trees import read_tree, write_random_file, write_tree
from tests.support.waiting import wait_until

TREE = {"config.json": b"{}", "weights/first.bin": b"\x00" * 100_000, ".gitattributes": b"*"}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with a plain directory as its store; each test has assets of its own."""
    folder = tmp_path_factory.mktemp("daemon")
    with running_daemons(folder) as daemons:
        yield daemons(store=folder / "store")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to push."""
    return write_tree(tmp_path / "model", TREE)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file to push."""
    path = tmp_path / "weights.bin"
    path.write_bytes(b"weights")
    return path


def assetd(daemon: Daemon, *arguments: str | Path) -> Ended:
    """Run a command against the daemon."""
    return run(*arguments, address=daemon.address)


def done(daemon: Daemon, *arguments: str | Path) -> str:
    """Run a command that has to succeed without a word beside its answer; return the answer."""
    ended = assetd(daemon, *arguments)
    assert (ended.code, ended.err) == (0, "")
    return ended.out


def test_serve_prints_one_line_and_its_options_win(daemons: Daemons, tmp_path: Path) -> None:
    """`--store`, `--assets-dir` and `--listen` override the environment, modelkit's names too."""
    store, assets_dir, socket = tmp_path / "store", tmp_path / "assets", daemons.prepare().socket
    store.mkdir()
    options = ["--store", f"file://{store}", "--assets-dir", assets_dir]
    daemon = daemons(
        assets_dir=assets_dir,
        socket=socket,
        command=[ASSETD, "serve", *options, "--listen", f"unix://{socket}"],
        variables={
            "ASSETS_DIR": "/nowhere",
            "MODELKIT_ASSETS_DIR": "/nowhere/else",
            "ASSETD_STORE": "s3://no-such-bucket",
            "ASSETD_LISTEN": "127.0.0.1:1",
        },
    )
    assert (
        daemon.ready_line
        == f"assetd serves {assets_dir} on unix://{socket} (store: file://{store})"
    )
    assert assetd(daemon, "list") == Ended(0, "", "")
    daemon.stop()
    assert daemon.later_output() == ""


def test_push_prints_the_version_and_fetch_the_path(daemon: Daemon, folder: Path) -> None:
    """Nothing else on standard output, so that a script can take it as it is."""
    assert done(daemon, "push", folder, "nlp/ranker", "--new") == "nlp/ranker:0.0\n"
    path = done(daemon, "fetch", "nlp/ranker")
    assert path == f"{daemon.assets_dir}/nlp/ranker/0.0\n"
    assert read_tree(Path(path.rstrip("\n"))) == TREE
    assert done(daemon, "resolve", "nlp/ranker") == "nlp/ranker:0.0\n"


def test_a_script_takes_the_path(daemon: Daemon, file: Path) -> None:
    """As the documentation writes it."""
    done(daemon, "push", file, "script/weights")
    script = f'M=$("{ASSETD}" fetch script/weights:0) && cat "$M"'
    env = environment({"ASSETD_ADDRESS": daemon.address})
    assert subprocess.run(["sh", "-ec", script], env=env, capture_output=True).stdout == b"weights"


def test_each_push_is_the_next_version(daemon: Daemon, file: Path) -> None:
    """Minor by default, major on demand, a line's next, or exactly the one that is named."""
    pushed = [
        done(daemon, "push", file, "bump/asset", "--new"),
        done(daemon, "push", file, "bump/asset", "--update"),
        done(daemon, "push", file, "bump/asset", "--bump-major"),
        done(daemon, "push", file, "bump/asset:0"),
        done(daemon, "push", file, "bump/asset:7.3"),
    ]
    assert [line.removeprefix("bump/asset:") for line in pushed] == [
        *("0.0\n", "0.1\n", "1.0\n", "0.2\n", "7.3\n")
    ]


def test_a_major_means_its_newest_minor(daemon: Daemon, file: Path) -> None:
    """As numbers: with 1.5, 2.0, 10.0 and 1.10, `:1` is 1.10; without that, 1.5; never 10.0."""
    for version in ("1.5", "2.0", "10.0"):
        done(daemon, "push", file, f"major/asset:{version}")
    assert done(daemon, "resolve", "major/asset:1") == "major/asset:1.5\n"
    assert done(daemon, "fetch", "major/asset:1").endswith("/major/asset/1.5\n")
    done(daemon, "push", file, "major/asset:1.10")
    assert done(daemon, "resolve", "major/asset:1") == "major/asset:1.10\n"
    assert done(daemon, "resolve", "major/asset") == "major/asset:10.0\n"


@pytest.mark.parametrize("part", ["weights/first.bin", "weights", "/config.json"])
def test_a_part_has_a_path_of_its_own(daemon: Daemon, folder: Path, part: str) -> None:
    """A file or a folder inside the version; with or without a leading slash."""
    done(daemon, "push", folder, "part/asset:0.1")
    path = done(daemon, "fetch", f"part/asset:0.1[{part}]")
    assert path == f"{daemon.assets_dir}/part/asset/0.1/{part.lstrip('/')}\n"
    assert Path(path.rstrip("\n")).exists()


def test_list_and_status_show_the_cache(daemon: Daemon, folder: Path) -> None:
    """What is cached and what the store has, a row a version."""
    for _ in range(2):
        done(daemon, "push", folder, "shown/asset")
    done(daemon, "fetch", "shown/asset:0.0")
    rows = [line.split() for line in done(daemon, "list", "shown/").splitlines()]
    assert rows == [
        ["ASSET", "VERSION", "CACHED", "STORE"],
        ["shown/asset", "0.1", "no", "yes"],
        ["shown/asset", "0.0", "yes", "yes"],
    ]
    latest = done(daemon, "list", "shown/", "--latest", "--long").splitlines()
    assert latest[1].split()[:2] == ["shown/asset", "0.1"]
    assert "sha256:" in latest[1]
    assert str(daemon.assets_dir) in done(daemon, "status")


def test_labels_stay_with_the_version(daemon: Daemon, file: Path) -> None:
    """In the order of their keys; who looks sees who pushed it, and when."""
    done(daemon, "push", file, "labels/asset", "--label", "git=a1b2", "--label", "by=c i=")
    title, row = done(daemon, "list", "labels/", "--long").splitlines()
    assert title.split()[-4:] == ["PUSHED", "BY", "DIGEST", "LABELS"]
    assert row.endswith("  by=c i= git=a1b2")
    (shown,) = done(daemon, "resolve", "labels/asset", "--json").splitlines()
    labels = Parse(shown, ResolveVersionResponse()).asset_version.labels
    assert dict(labels) in ({}, {"git": "a1b2", "by": "c i="})


def test_a_dry_run_creates_nothing(daemon: Daemon, folder: Path) -> None:
    """It says what a push would create, and that this content is there already."""
    command = ("push", folder, "dry/asset", "--label", "git=a1b2")
    first = summary(done(daemon, *command, "--dry-run"))
    assert first["version"] == "dry/asset:0.0"
    assert (first["kind"], first["files"], first["labels"]) == ("directory", "3", "git=a1b2")
    assert first["exists already"] == "no"
    assert done(daemon, "list", "dry/") == ""
    assert done(daemon, *command) == "dry/asset:0.0\n"
    exact = ("push", folder, "dry/asset:0.0", "--dry-run")
    again = summary(done(daemon, *exact))
    assert again == {**first, "exists already": "yes, with this content"}
    assert summary(done(daemon, *command, "--dry-run"))["version"] == "dry/asset:0.1"
    assert daemon.leftovers() == []


def summary(printed: str) -> dict[str, str]:
    """What a dry run printed, by its titles."""
    cells = [line.split("  ", 1) for line in printed.splitlines()]
    return {title: text.strip() for title, text in cells}


def test_a_push_leaves_out_what_it_is_told_to(daemon: Daemon, folder: Path) -> None:
    """Whatever that is: the link would be refused."""
    (folder / "weights/latest").symlink_to("first.bin")
    (folder / ".git").mkdir()
    without = ("--exclude", "**/latest", "--exclude", ".git/**", "--exclude", "*.json")
    done(daemon, "push", folder, "some/asset", *without)
    path = done(daemon, "fetch", "some/asset").rstrip("\n")
    assert sorted(read_tree(Path(path))) == [".gitattributes", "weights/first.bin"]


def test_a_push_is_repeated_by_its_id(daemon: Daemon, file: Path) -> None:
    """It prints its first answer again, and no second version is there."""
    command = ("push", file, "again/asset", "--push-id", str(uuid.uuid4()))
    assert [done(daemon, *command) for _ in range(2)] == ["again/asset:0.0\n"] * 2
    assert len(done(daemon, "list", "again/").splitlines()) == 2


def test_json_is_what_the_daemon_answers(daemon: Daemon, folder: Path) -> None:
    """One object a line, in the form that every protobuf library reads back."""
    pushed = done(daemon, "push", folder, "json/asset", "--json").splitlines()
    push = [Parse(line, PushResponse()) for line in pushed]
    assert push[-1].completed.asset_version.version == "0.0"
    fetched = done(daemon, "fetch", "json/asset", "--json").splitlines()
    fetch = [Parse(line, FetchResponse()) for line in fetched]
    assert fetch[0].WhichOneof("event") == "started"
    assert fetch[-1].completed.relative_path == "json/asset/0.0"
    resolved = Parse(done(daemon, "resolve", "json/asset", "--json"), ResolveVersionResponse())
    assert resolved.cache_state.presence == asset_pb2.CacheState.PRESENCE_PRESENT
    (page,) = [
        Parse(x, ListResponse()) for x in done(daemon, "list", "json", "--json").split("\n") if x
    ]
    assert [entry.asset_version.name for entry in page.entries] == ["json/asset"]
    status = Parse(done(daemon, "status", "--json"), GetCacheStatusResponse())
    assert status.assets_dir == str(daemon.assets_dir)


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["fetch", "no such"], 2, "INVALID_NAME"),
        (["fetch", "a:01"], 2, "INVALID_VERSION"),
        (["resolve", "no/such"], 3, "ASSET_NOT_FOUND"),
        (["fetch", "codes/asset:9"], 3, "VERSION_NOT_FOUND"),
        (["fetch", "codes/asset[none]"], 3, "PART_NOT_FOUND"),
        (["push", "FILE", "codes/asset", "--new"], 4, "ASSET_EXISTS"),
        (["push", "OTHER", "codes/asset:0.0"], 4, "VERSION_EXISTS"),
        (["push", "LINK", "codes/link"], 8, "UNSUPPORTED_FILE"),
        (["fetch", "codes/asset", "--expected-digest", "sha256:" + 64 * "0"], 7, "DIGEST_MISMATCH"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_the_exit_code_tells_the_kind_of_failure(
    daemon: Daemon, file: Path, tmp_path: Path, arguments: list[str], code: int, reason: str
) -> None:
    """One line on standard error with the reason; as JSON with `--json`; never a traceback."""
    done(daemon, "push", file, "codes/asset:0.0")
    (tmp_path / "other").write_bytes(b"other")
    (tmp_path / "link").symlink_to(file)
    names = {"FILE": file, "OTHER": tmp_path / "other", "LINK": tmp_path / "link"}
    command = [names.get(argument, argument) for argument in arguments]
    ended = assetd(daemon, *command)
    assert (ended.code, ended.out) == (code, "")
    assert ended.err.endswith(f"({reason})\n")
    assert len(ended.err.splitlines()) == 1
    told = json.loads(assetd(daemon, *command, "--json").err)["error"]
    assert told["reason"] == reason


def test_usage_errors_are_2(daemon: Daemon, tmp_path: Path) -> None:
    """Also what cannot be asked for at once, and a source that is not there."""
    for arguments in (["fetch"], ["nothing"], ["push", str(tmp_path / "none"), "a"]):
        assert assetd(daemon, *arguments).code == 2
    exclusive = assetd(daemon, "push", tmp_path, "a", "--new", "--update")
    assert (exclusive.code, exclusive.out) == (2, "")


def test_without_a_daemon_it_says_how_to_start_one(tmp_path: Path) -> None:
    """5, unavailable, and the command that helps."""
    for command in (["fetch", "a"], ["resolve", "a"], ["list"], ["status"]):
        ended = run(*command, address=f"unix://{tmp_path}/none.sock")
        assert (ended.code, ended.out) == (5, "")
        assert "assetd serve" in ended.err
        assert str(tmp_path) in ended.err


@pytest.mark.needs_program("versitygw")
def test_ctrl_c_leaves_nothing_under_way(daemons: Daemons, tmp_path: Path) -> None:
    """130; the download that nobody waits for ends, and so does a half-sent push.

    What stays of the one is for whoever fetches the version again, of the other nothing does.
    """
    write_random_file(tmp_path / "source", 32 << 20, seed=1)
    with proxied_store(tmp_path / "s3") as store:
        store.fill(daemons, tmp_path / "filler", {"big/asset": tmp_path / "source"})
        daemon = daemons(store=store.url, variables=store.through_proxy)
        store.proxy.rate_bytes_per_second = 4 << 20
        arrived = store.proxy.bytes_from_upstream
        fetch = start("fetch", "big/asset", address=daemon.address)
        wait_until(lambda: store.proxy.bytes_from_upstream > arrived + (1 << 20), "some bytes")
        assert daemon.leftovers() != []
        interrupt(fetch)
        with daemon.client() as client:
            wait_until(lambda: not client.status().flights, "the end of the download")
        kept = daemon.kept_downloads()
        assert daemon.leftovers() == kept

        # So large that nobody is so fast as to commit it meanwhile.
        write_random_file(tmp_path / "larger", 128 << 20, seed=2)
        push = start("push", tmp_path / "larger", "big/other", address=daemon.address)
        sent = store.proxy.bytes_to_upstream
        wait_until(lambda: store.proxy.bytes_to_upstream > sent + (16 << 20), "a part of the push")
        interrupt(push)
        store.proxy.rate_bytes_per_second = None
        wait_until(lambda: daemon.leftovers() == kept, "the end of the push")
        assert assetd(daemon, "list").out.split()[4:] == ["big/asset", "0.0", "no", "yes"]
        # The claim was given up: the number is free.
        assert done(daemon, "push", tmp_path / "source", "big/other") == "big/other:0.0\n"


def interrupt(command: "subprocess.Popen[str]") -> None:
    """Press Ctrl-C, and see the command end quietly."""
    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=60)
    # The end of the line on which a terminal shows ^C.
    assert (command.returncode, out, err.strip()) == (130, "", "")
