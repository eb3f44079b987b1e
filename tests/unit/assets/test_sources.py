"""The sources of pushes: what is allowed, what is found there, and what it hashes to."""

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from assetd_server.assets.source_uris import SourceUri, StagedPath
from assetd_server.assets.sources import PushSource, Sources
from assetd_server.cache.layout import PUSH, AssetsDir
from assetd_server.errors import (
    InvalidFieldError,
    SourceChangedError,
    SourceNotAllowedError,
    UnsupportedFileError,
)
from assetd_server.manifest import Part
from assetd_server.model import AssetKind, PartPath
from assetd_server.store.base import ObjectStore

from tests.support.file_systems import RecordingFileSystem, no_descriptor_left
from tests.support.trees import write_tree

MODEL = {"a-b/c": b"dash", "a/b": b"slash", "config.json": b"{}", ".hidden": b""}
FILE = PartPath.of_file()


def no_bucket(bucket: str) -> ObjectStore:
    """Nobody is to ask for a bucket."""
    raise AssertionError(bucket)


@pytest.fixture(autouse=True)
def descriptors() -> Iterator[None]:
    """Every test leaves as many descriptors open as it found."""
    with no_descriptor_left():
        yield


@pytest.fixture
def fs() -> RecordingFileSystem:
    """The calls that are made."""
    return RecordingFileSystem()


@pytest.fixture
def push(tmp_path: Path) -> Path:
    """Where clients stage what they push, with a model and what is the daemon's own."""
    folder = tmp_path / "assets" / PUSH
    write_tree(folder / "model", MODEL)
    write_tree(folder / ".spool", {"other/0": b"somebody else's"})
    (folder / "weights").write_bytes(b"weights")
    return folder


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    """A directory that the operator allows, beside one that she does not."""
    write_tree(tmp_path / "incoming-2", {"secret": b"secret"})
    return write_tree(tmp_path / "incoming", {f"model/{name}": d for name, d in MODEL.items()})


Made = Callable[..., Sources]


@pytest.fixture
async def make(push: Path, fs: RecordingFileSystem) -> AsyncIterator[Made]:
    """Makes sources that allow the directories; closed at the end."""
    made: list[Sources] = []
    assets_dir = AssetsDir(str(push.parents[1]), fs)

    def make(*allowed: Path) -> Sources:
        uris = [SourceUri.read(path.as_uri()) for path in allowed]
        made.append(Sources(assets_dir, uris, no_bucket))
        return made[-1]

    yield make
    for sources in made:
        await sources.close()
    assets_dir.close()


async def hashed(source: PushSource) -> dict[str, Part]:
    """The parts by their paths, in order; the progress adds up to all bytes."""
    told: list[int] = []
    parts = await source.parts(told.append)
    assert sum(told) == sum(part.size_bytes or 0 for part in parts)
    return {str(part.path): part for part in parts}


def change_times(folder: Path) -> list[tuple[str, int]]:
    """When each file or folder was changed last, in whichever way."""
    return sorted((str(path), path.lstat().st_ctime_ns) for path in folder.rglob("*"))


async def refusal(sources: Sources, content: StagedPath | SourceUri) -> Exception:
    """What opening a source came to."""
    with pytest.raises((SourceNotAllowedError, InvalidFieldError)) as raised:
        await sources.open(content, None)
    return raised.value


# Staged


async def test_a_staged_folder_is_found_and_hashed(make: Made) -> None:
    """What was staged below ASSETS_DIR/.assetd/push is read where it stands.

    All of its files, those that begin with a dot too.
    """
    source = await make().open(StagedPath.parse("model"), None)
    assert source.kind is AssetKind.DIRECTORY
    parts = await hashed(source)
    assert list(parts) == [".hidden", "a-b/c", "a/b", "config.json"]
    for name, data in MODEL.items():
        assert parts[name].size_bytes == len(data)
        assert parts[name].sha256_hex == hashlib.sha256(data).hexdigest()
        assert parts[name].crc64nvme is not None
        assert await source.read(PartPath(name), 0, 1 << 20) == data
        assert await source.read(PartPath(name), 2, 1) == data[2:3]
        assert source.copy_source(PartPath(name)) is None
    await source.check_unchanged()
    await source.close()


@pytest.mark.parametrize("path", ["weights", "model/a/b", "model/a", "model/"])
async def test_what_is_pushed_may_lie_deeper(make: Made, path: str) -> None:
    """A file or a folder, by its path from there."""
    source = await make().open(StagedPath.parse(path), None)
    is_file = source.kind is AssetKind.FILE
    assert is_file == (path in ("weights", "model/a/b"))
    assert (list(await hashed(source)) == [""]) == is_file
    await source.close()


@pytest.mark.parametrize("kind", AssetKind)
async def test_another_kind_than_the_callers_is_refused(make: Made, kind: AssetKind) -> None:
    """Where a caller says what it pushes, that is what has to stand there."""
    right, wrong = ("weights", "model") if kind is AssetKind.FILE else ("model", "weights")
    sources = make()
    await (await sources.open(StagedPath.parse(right), kind)).close()
    with pytest.raises(InvalidFieldError, match=f"kind says {kind.value}") as raised:
        await sources.open(StagedPath.parse(wrong), kind)
    assert raised.value.metadata["field"] == "header.kind"


@pytest.mark.parametrize("is_there", [True, False])
async def test_a_staged_path_tells_what_is_missing(make: Made, push: Path, is_there: bool) -> None:
    """By its name below ASSETS_DIR; also where nobody has staged anything yet."""
    if not is_there:
        os.rename(push, push.parent / "elsewhere")  # noqa: PTH104 - nothing waits here
    error = await refusal(make(), StagedPath.parse("absent/file"))
    assert str(error).startswith("there is nothing at .assetd/push/absent/file: name a file")
    assert getattr(error, "metadata", {})["field"] == "header.staged_path"


async def test_nothing_staged_is_ever_changed_or_deleted(make: Made, push: Path) -> None:
    """The daemon never writes or deletes what is staged: that is for whoever put it there."""
    before = change_times(push)
    source = await make().open(StagedPath.parse("model"), None)
    await hashed(source)
    await source.check_unchanged()
    await source.close()
    assert change_times(push) == before


async def test_only_what_is_named_is_opened(make: Made, fs: RecordingFileSystem) -> None:
    """Beside the folders that lead to it."""
    source = await make().open(StagedPath.parse("model/a"), None)
    await hashed(source)
    await source.close()
    opened = {call.paths[0] for call in fs.named("open")}
    assert opened == {PUSH, f"{PUSH}/model", f"{PUSH}/model/a", f"{PUSH}/model/a/b"}


# URIs of this machine


async def test_a_file_uri_below_what_is_allowed_is_found(make: Made, incoming: Path) -> None:
    """A URI below `ASSETD_PUSH_SOURCES` is read by the daemon; by default none is.

    Whatever of its name had to be escaped.
    """
    (incoming / "50% ü").mkdir()
    (incoming / "50% ü/a").write_bytes(b"data")
    sources = make(incoming)
    await sources.load()
    for path in (incoming / "50% ü", incoming / "50% ü/a", incoming):
        source = await sources.open(SourceUri.parse(path.as_uri()), None)
        assert source.kind is (AssetKind.FILE if path.is_file() else AssetKind.DIRECTORY)
        assert hashlib.sha256(b"data").hexdigest() in {
            part.sha256_hex for part in (await hashed(source)).values()
        }
        await source.close()


@pytest.mark.parametrize(
    "outside", ["/etc/shadow", "/proc/self/environ", "/nowhere/at/all", "-2/secret", "-2/absent"]
)
async def test_what_is_not_allowed_tells_nobody_whether_it_is_there(
    make: Made, incoming: Path, fs: RecordingFileSystem, outside: str
) -> None:
    """What is not allowed is `SOURCE_NOT_ALLOWED`, whether it is there or not, and not opened."""
    sources = make(incoming)
    await sources.load()
    begin = len(fs.calls)
    path = f"{incoming}{outside}" if outside.startswith("-") else outside
    error = await refusal(sources, SourceUri.parse(f"file://{path}"))
    assert isinstance(error, SourceNotAllowedError)
    assert str(error).replace(path, "PATH") == (
        "file://PATH is not among the sources that the operator allows: ask for it to be added to"
        " ASSETD_PUSH_SOURCES of the daemon"
    )
    assert fs.calls[begin:] == []


async def test_by_default_nothing_is_allowed(make: Made, incoming: Path) -> None:
    """Neither here nor in a bucket."""
    sources = make()
    await sources.load()
    for uri in (incoming.as_uri(), "s3://bucket/key", "s3://bucket"):
        assert isinstance(await refusal(sources, SourceUri.parse(uri)), SourceNotAllowedError)


async def test_a_link_may_be_allowed_and_is_followed_once(
    make: Made, incoming: Path, tmp_path: Path
) -> None:
    """Whoever replaces it after the start leads the daemon nowhere else."""
    link = tmp_path / "link"
    link.symlink_to(incoming, target_is_directory=True)
    sources = make(link)
    await sources.load()
    link.unlink()
    link.symlink_to(tmp_path / "incoming-2", target_is_directory=True)
    source = await sources.open(SourceUri.parse(f"{link.as_uri()}/model"), None)
    assert list(await hashed(source)) == [".hidden", "a-b/c", "a/b", "config.json"]
    await source.close()
    missing = await refusal(sources, SourceUri.parse(f"{link.as_uri()}/secret"))
    assert isinstance(missing, InvalidFieldError)


async def test_a_link_below_what_is_allowed_is_not_followed(
    make: Made, incoming: Path, tmp_path: Path
) -> None:
    """Unless the operator names it too: then that is the place which counts."""
    link = incoming / "link"
    link.symlink_to(tmp_path / "incoming-2", target_is_directory=True)
    sources = make(incoming)
    await sources.load()
    with pytest.raises(UnsupportedFileError, match="is a symlink"):
        await sources.open(SourceUri.parse(f"{link.as_uri()}/secret"), None)
    both = make(incoming, link)
    await both.load()
    source = await both.open(SourceUri.parse(f"{link.as_uri()}/secret"), None)
    assert list(await hashed(source)) == [""]
    await source.close()


async def test_a_slash_at_the_end_is_a_folder(make: Made, incoming: Path) -> None:
    """As whoever writes it means."""
    sources = make(incoming)
    await sources.load()
    model = SourceUri.parse(f"{incoming.as_uri()}/model/")
    await (await sources.open(model, None)).close()
    with pytest.raises(InvalidFieldError, match="kind says directory"):
        await sources.open(SourceUri.parse(f"{incoming.as_uri()}/model/config.json/"), None)


async def test_an_allowed_directory_has_to_be_there(make: Made, tmp_path: Path) -> None:
    """The start fails, and says which; those before it are closed again."""
    sources = make(tmp_path, tmp_path / "missing")
    with pytest.raises(SourceNotAllowedError, match=r"missing, which .* allows, cannot be opened"):
        await sources.load()


# What changes, fails, and is given up


async def test_a_source_that_changes_is_told(make: Made, push: Path) -> None:
    """A source that changes once it was hashed is `SOURCE_CHANGED`, at its next read at the latest.

    In the end the whole is compared: what was added to it counts too.
    """
    source = await make().open(StagedPath.parse("model"), None)
    await hashed(source)
    (push / "model/a/b").write_bytes(b"other")
    with pytest.raises(SourceChangedError, match=r"\.assetd/push/model/a/b changed"):
        await source.read(PartPath("a/b"), 0, 1)
    with pytest.raises(SourceChangedError):
        await source.check_unchanged()
    await source.close()


CHANGES: list[Callable[[Path], object]] = [
    lambda model: (model / "new").write_bytes(b""),
    lambda model: (model / "config.json").unlink(),
    lambda model: (model / "empty").mkdir(),
    lambda model: (model / "link").symlink_to("config.json"),
    lambda model: (model / "a/b").rename(model / "a/c"),
    lambda model: (model / ".SUCCESS").touch(),
    lambda model: model.rename(model.parent / "moved"),
]


@pytest.mark.parametrize("number", range(len(CHANGES)))
async def test_whatever_is_other_in_the_end_is_a_change(
    make: Made, push: Path, number: int
) -> None:
    """Also what would have been refused in the first place."""
    source = await make().open(StagedPath.parse("model"), None)
    await hashed(source)
    await source.check_unchanged()
    CHANGES[number](push / "model")
    with pytest.raises(SourceChangedError):
        await source.check_unchanged()
    await source.close()


async def test_a_failure_is_told_once_and_all_is_closed(
    make: Made, push: Path, fs: RecordingFileSystem
) -> None:
    """Of the files that are hashed at once, the first that fails ends the others."""
    for number in range(600):
        (push / f"model/many-{number}").write_bytes(b"x")
    source = await make().open(StagedPath.parse("model"), None)
    fs.fail(400, errno.EACCES, "pread")
    with pytest.raises(SourceNotAllowedError, match="the daemon may not read"):
        await source.parts(lambda _: None)
    await source.close()


async def test_who_leaves_is_not_kept_by_a_long_hash(make: Made, push: Path) -> None:
    """A file is hashed a stretch at a time."""
    with (push / "large").open("wb") as file:
        file.truncate(1 << 30)
    source = await make().open(StagedPath.parse("large"), None)
    told: list[int] = []
    begun = asyncio.Event()

    def tell(count: int) -> None:
        told.append(count)
        begun.set()

    hashing = asyncio.create_task(source.parts(tell))
    await begun.wait()
    hashing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hashing
    assert sum(told) < 1 << 30
    await source.close()


async def test_many_and_large_files_hash_alike(make: Made, push: Path) -> None:
    """However they are put together for a thread, each has its own hash."""
    sizes = {f"f{number:04d}": number % 7 for number in range(1000)}
    sizes |= {"large-1": 40 << 20, "large-2": (32 << 20) + 1, "medium": 20 << 20, "other": 20 << 20}
    model = push / "sizes"
    model.mkdir()
    expected = {}
    for name, size in sizes.items():
        data = os.urandom(64) * (size // 64) + b"x" * (size % 64)
        (model / name).write_bytes(data)
        expected[name] = hashlib.sha256(data).hexdigest()
    source = await make().open(StagedPath.parse("sizes"), None)
    parts = await hashed(source)
    assert {name: part.sha256_hex for name, part in parts.items()} == expected
    await source.close()


async def test_a_caller_that_leaves_while_it_is_found_leaves_nothing(
    make: Made, fs: RecordingFileSystem
) -> None:
    """The folder that was opened for it is closed again."""
    sources = make()
    opening = asyncio.create_task(sources.open(StagedPath.parse("model"), None))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await sources.close()
    assert [path for path in fs.open_paths if path] == []
