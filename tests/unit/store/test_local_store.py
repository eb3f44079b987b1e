"""What the contract does not say of the store in a directory: files, folders, locks, crashes."""

import asyncio
import errno
import fcntl
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from assetd_server.errors import DiskFullError, StoreAccessDeniedError, StoreUnavailableError
from assetd_server.store.base import (
    CopySource,
    EtagMismatchError,
    KeyExistsError,
    KeyNotFoundError,
    UploadNotFoundError,
)
from assetd_server.store.local import LocalStore
from assetd_server.store.local import root as local_root
from assetd_server.store.local.files import LocalFiles
from assetd_server.store.local.root import LEFT_BEHIND_SECONDS, WORK_FOLDER, LocalRoot

NANOSECONDS = 1_000_000_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The store's directory."""
    root = tmp_path / "store"
    root.mkdir()
    return root


@pytest.fixture
async def store(root: Path) -> AsyncIterator[LocalStore]:
    """A store that reads in chunks of four bytes."""
    store = LocalStore(root, chunk_bytes=4)
    yield store
    await store.close()


def files_below(folder: Path) -> list[str]:
    """Returns the files in a tree, without those that locks are taken on."""
    found = (path for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    names = (str(path.relative_to(folder)) for path in found)
    return sorted(name for name in names if not name.startswith(f"{WORK_FOLDER}/locks/"))


async def keys(store: LocalStore) -> list[str]:
    """Returns all keys that the store lists."""
    return [found.key async for page in store.list("") for found in page.objects]


# What lies where


async def test_a_key_is_the_path_of_a_file(store: LocalStore, root: Path) -> None:
    """As for modelkit, which reads and writes the same folder."""
    await store.create("a/b/0.0", b"ours")
    begun = await store.start_upload("a/c")
    await store.create_from_upload(begun, [await store.upload_part(begun, 1, 0, [b"large"])])
    (root / "d").write_bytes(b"theirs")
    assert (root / "a/b/0.0").read_bytes() == b"ours"
    assert (root / "a/c").read_bytes() == b"large"
    assert (await store.get("d", 10))[1] == b"theirs"
    assert await keys(store) == ["a/b/0.0", "a/c", "d"]


@pytest.mark.parametrize(
    ("there", "key"),
    [
        ("a/1.0/b", "a/1.0"),
        ("a/1.0", "a/1.0/b"),
        ("a/1.0/b", "a/1.0/b/c"),
        ("a/1.0/b/c", "a/1.0/b"),
    ],
)
async def test_an_upload_clears_its_way(
    store: LocalStore, root: Path, there: str, key: str
) -> None:
    """Within the bounds that are told, and nowhere else; without such bounds it is refused."""
    others = ["a/0.9", "a/1.0.meta", "a/1.00/b"]
    for other in (*others, there):
        await store.create(other, b"other")
    begun = await store.start_upload(key)
    receipts = [await store.upload_part(begun, 1, 0, [b"large"])]
    with pytest.raises(StoreUnavailableError, match="above or below"):
        await store.put_from_upload(begun, receipts)
    assert (await store.get(there, 10))[1] == b"other"
    info = await store.put_from_upload(begun, receipts, within="a/1.0")
    assert await store.get(key, 10) == (info, b"large")
    assert await keys(store) == sorted([*others, key])
    assert files_below(root) == sorted([*others, key])


async def test_an_upload_that_is_gone_clears_nothing(store: LocalStore) -> None:
    """Whoever has ended it may have put something there since."""
    begun = await store.start_upload("a/1.0")
    receipts = [await store.upload_part(begun, 1, 0, [b"large"])]
    await store.abort_upload(begun)
    await store.create("a/1.0/b", b"other")
    with pytest.raises(UploadNotFoundError):
        await store.put_from_upload(begun, receipts, within="a/1.0")
    assert await keys(store) == ["a/1.0/b"]


async def test_no_link_is_followed_to_clear_the_way(
    store: LocalStore, root: Path, tmp_path: Path
) -> None:
    """What a link leads to is somebody else's."""
    (tmp_path / "b").write_text("theirs")
    (root / "a").mkdir()
    for key in ("a/1.0", "a/1.0/b"):
        (root / "a/1.0").unlink(missing_ok=True)
        (root / "a/1.0").symlink_to(tmp_path)
        begun = await store.start_upload(key)
        receipts = [await store.upload_part(begun, 1, 0, [b"large"])]
        await store.put_from_upload(begun, receipts, within="a/1.0")
        assert (await store.get(key, 10))[1] == b"large"
        assert (tmp_path / "b").read_text() == "theirs"


async def test_nothing_of_our_own_is_left_or_listed(store: LocalStore, root: Path) -> None:
    """Beside it `.assetd/` is a folder like any other: the catalog keeps its claims there."""
    info = await store.create(".assetd/claims/a/0.0", b"claim")
    await store.swap(".assetd/claims/a/0.0", b"later", info.etag)
    await store.put("k", b"x")
    with pytest.raises(KeyExistsError):
        await store.create("k", b"y")
    begun = await store.start_upload("k")
    receipts = [await store.upload_part(begun, 1, 0, [b"large"])]
    with pytest.raises(KeyExistsError):
        await store.create_from_upload(begun, receipts)
    await store.put_from_upload(begun, receipts)
    assert files_below(root) == [".assetd/claims/a/0.0", "k"]
    assert await keys(store) == [".assetd/claims/a/0.0", "k"]


async def test_files_and_folders_have_the_usual_modes(store: LocalStore, root: Path) -> None:
    """Those of the umask: others may share the folder."""
    previous = os.umask(0o027)
    try:
        await store.create("a/k", b"x")
    finally:
        os.umask(previous)
    assert (root / "a/k").stat().st_mode & 0o777 == 0o640
    assert (root / "a").stat().st_mode & 0o777 == 0o750


async def test_what_is_no_file_is_neither_listed_nor_opened(
    store: LocalStore, root: Path, tmp_path: Path
) -> None:
    """A link could lead anywhere, and a FIFO would wait for a writer for ever."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (root / "link").symlink_to(secret)
    (root / "folder").symlink_to(tmp_path)
    os.mkfifo(root / "fifo")
    await store.create("k", b"x")
    assert await keys(store) == ["k"]
    for key in ("link", "folder", "fifo"):
        with pytest.raises(StoreAccessDeniedError, match="never opened"):
            await store.head(key)
        with pytest.raises(KeyExistsError):
            await store.create(key, b"y")
    await store.put("link", b"y")
    assert secret.read_text() == "secret"
    assert (await store.get("link", 9))[1] == b"y"


async def test_names_that_are_no_text_are_left_out(store: LocalStore, root: Path) -> None:
    """No key could be written down for them."""
    (root / os.fsdecode(b"\xff\xfe")).write_bytes(b"x")
    (root / os.fsdecode(b"folder\xff")).mkdir()
    (root / os.fsdecode(b"folder\xff/k")).write_bytes(b"x")
    await store.create("k", b"x")
    assert await keys(store) == ["k"]
    assert [page.prefixes async for page in store.list("", delimiter=True)] == [[]]


async def test_a_name_too_long_for_the_disk_is_absent(store: LocalStore) -> None:
    """S3 would hold it; here nobody can have written it, and nobody can."""
    key = "a" * 300
    with pytest.raises(KeyNotFoundError):
        await store.head(key)
    await store.delete(key)
    with pytest.raises(StoreUnavailableError, match="too long"):
        await store.create(key, b"x")


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.head("loop/k"),
        lambda store: store.put("loop/k", b"x"),
        lambda store: store.swap("loop/k", b"x", "etag"),
        lambda store: store.delete("loop/k"),
        lambda store: anext(store.list("loop/")),
        lambda store: _upload(store, "loop/k"),
    ],
)
async def test_a_path_that_leads_nowhere_is_no_absence(
    store: LocalStore, root: Path, call: Callable[[LocalStore], Awaitable[object]]
) -> None:
    """A disk that fails on the way to a key says nothing of the key."""
    (root / "loop").symlink_to(root / "loop")
    with pytest.raises((StoreUnavailableError, StoreAccessDeniedError)):
        await call(store)


async def _upload(store: LocalStore, key: str) -> None:
    begun = await store.start_upload(key)
    await store.create_from_upload(begun, [await store.upload_part(begun, 1, 0, [b"x"])])


# Writers in place


@pytest.mark.parametrize("new", [b"NEW BYTES", b"short", b"much longer than before"])
async def test_what_changes_in_place_is_not_taken_for_one_write(
    store: LocalStore, root: Path, new: bytes
) -> None:
    """Modelkit writes in place: a reader beside it fails, rather than mix two objects."""
    (root / "k").write_bytes(b"old bytes")
    chunks = aiter(await store.read("k"))
    assert await anext(chunks) == b"old "
    (root / "k").write_bytes(new)
    os.utime(root / "k", ns=(1, 1))
    with pytest.raises(StoreUnavailableError, match="changed while it was read"):
        async for _ in chunks:
            pass


async def test_what_is_replaced_is_read_to_its_end(store: LocalStore, root: Path) -> None:
    """A reader holds the write that it opened, also when its key is gone."""
    await store.create("k", b"old bytes")
    chunks = aiter(await store.read("k"))
    await anext(chunks)
    (root / "k").unlink()
    assert b"".join([bytes(chunk) async for chunk in chunks]) == b"bytes"


# ETags


@pytest.mark.parametrize("step_ns", [0, -NANOSECONDS, 1])
async def test_etags_differ_whatever_the_clock_does(root: Path, step_ns: int) -> None:
    """It may stand still or jump back, and the kernel gives inodes out again."""
    now = [NANOSECONDS * 10**9]

    def now_ns() -> int:
        now[0] += step_ns
        return now[0]

    store = LocalStore(root, now_ns=now_ns)
    etag = (await store.create("k", b"0000")).etag
    etags = [etag]
    for number in range(1, 30):
        data = b"%04d" % number
        info = await (store.put("k", data) if number % 2 else store.swap("k", data, etag))
        etag = info.etag
        etags.append(etag)
    assert len(set(etags)) == len(etags)
    await store.close()


# Processes


SWAPPER = """
import asyncio, sys
from pathlib import Path
from assetd_server.store.base import EtagMismatchError
from assetd_server.store.local import LocalStore

async def main() -> None:
    store = LocalStore(Path(sys.argv[1]))
    done = 0
    while done < int(sys.argv[2]):
        info, data = await store.get("k", 100)
        try:
            await store.swap("k", b"%d" % (int(data) + 1), info.etag)
            done += 1
        except EtagMismatchError:
            pass
    await store.close()

asyncio.run(main())
"""


async def test_swaps_of_several_processes_are_all_counted(store: LocalStore, root: Path) -> None:
    """The lock of a key holds between processes."""
    await store.create("k", b"0")
    swappers = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", SWAPPER, str(root), "25")
        for _ in range(4)
    ]
    assert [await swapper.wait() for swapper in swappers] == [0, 0, 0, 0]
    assert (await store.get("k", 100))[1] == b"100"


# Crashes


async def test_what_a_killed_writer_left_is_removed_after_a_day(root: Path) -> None:
    """At the first write of a run, and nothing that a writer of now may need."""
    incoming = root / WORK_FOLDER / "incoming"
    incoming.mkdir(parents=True)
    now_ns = 10**9 * NANOSECONDS
    for name, age_seconds in (("old", LEFT_BEHIND_SECONDS + 1), ("new", LEFT_BEHIND_SECONDS - 1)):
        (incoming / name).write_bytes(b"half")
        written_ns = now_ns - age_seconds * NANOSECONDS
        os.utime(incoming / name, ns=(written_ns, written_ns))
    store = LocalStore(root, now_ns=lambda: now_ns)
    await store.put("k", b"x")
    assert [path.name for path in incoming.iterdir()] == ["new"]
    await store.close()


@pytest.fixture
async def shown(store: LocalStore, root: Path) -> Any:
    """An upload whose completer was killed after it had shown it, before it took its name away."""
    begun = await store.start_upload("a/k")
    receipts = [await store.upload_part(begun, 1, 0, [b"whole"])]
    (root / "a").mkdir()
    (root / "a/k").hardlink_to(root / WORK_FOLDER / "uploads" / begun.upload_id)
    return begun, receipts


async def test_a_late_part_does_not_change_what_is_shown(store: LocalStore, shown: Any) -> None:
    """The upload's name still leads to the file that readers see."""
    begun, _ = shown
    with pytest.raises(UploadNotFoundError):
        await store.upload_part(begun, 1, 0, [b"WRONG"])
    assert (await store.get("a/k", 9))[1] == b"whole"


@pytest.mark.parametrize("method", ["create_from_upload", "put_from_upload"])
async def test_what_is_shown_can_be_completed_again(
    store: LocalStore, root: Path, shown: Any, method: str
) -> None:
    """It then tells of the success that was lost."""
    info = await getattr(store, method)(*shown)
    assert await store.get("a/k", 9) == (info, b"whole")
    assert files_below(root) == ["a/k"]


async def test_what_is_shown_survives_an_abort(store: LocalStore, root: Path, shown: Any) -> None:
    """Only the name goes."""
    await store.abort_upload(shown[0])
    assert (await store.get("a/k", 9))[1] == b"whole"
    assert files_below(root) == ["a/k"]


async def test_what_is_shown_is_told_as_an_upload_until_it_is_ended(
    store: LocalStore, shown: Any
) -> None:
    """Whoever tidies up finds it, and takes nothing but its name away."""
    assert [found.upload async for found in store.uploads("a/")] == [shown[0]]
    await store.abort_upload(shown[0])
    assert [found async for found in store.uploads("")] == []


async def test_an_upload_leaves_nothing_beside_it(store: LocalStore, root: Path) -> None:
    """However it ends."""
    for end in (store.create_from_upload, store.put_from_upload):
        begun = await store.start_upload("k")
        await end(begun, [await store.upload_part(begun, 1, 0, [b"x"])])
    await store.abort_upload(await store.start_upload("k"))
    assert list((root / WORK_FOLDER / "uploads").iterdir()) == []


async def test_a_writer_that_died_before_its_upload_began(store: LocalStore, root: Path) -> None:
    """Has left a key for an upload that is not there, and that is told to nobody."""
    await store.abort_upload(await store.start_upload("k"))
    (root / WORK_FOLDER / "uploads" / f"{'0' * 32}.key").symlink_to("k")
    assert [found async for found in store.uploads("")] == []


async def test_what_is_no_label_of_an_upload_is_passed_over(store: LocalStore, root: Path) -> None:
    """A file of somebody else's, or a link to what no key can be, hides no upload."""
    begun = await store.start_upload("k")
    uploads = root / WORK_FOLDER / "uploads"
    for digit in "01":
        (uploads / (digit * 32)).touch()
    (uploads / f"{'0' * 32}.key").write_text("k")
    (uploads / f"{'1' * 32}.key").symlink_to(os.fsdecode(b"\xff"))
    assert [found.upload async for found in store.uploads("")] == [begun]


async def test_parts_that_leave_a_gap_are_refused(store: LocalStore) -> None:
    """A hole in a sparse file would read as zeros."""
    begun = await store.start_upload("k")
    receipts = [
        await store.upload_part(begun, 1, 0, [b"1234"]),
        await store.upload_part(begun, 2, 5, [b"6789"]),
    ]
    with pytest.raises(ValueError, match="begins at 5 where the one before it ends at 4"):
        await store.create_from_upload(begun, receipts)
    with pytest.raises(KeyNotFoundError):
        await store.head("k")


KINDS = ["pwrite64", "fsync", "fdatasync", "?link", "linkat", "?rename", "?renameat", "?unlink"]
KINDS += ["unlinkat", "utimensat", "ftruncate"]
WRITER = """
import sys
from pathlib import Path
from assetd_server.store.base import Upload
from assetd_server.store.local.files import LocalFiles
from assetd_server.store.local.files import LocalFiles
from assetd_server.store.local.root import LocalRoot
from assetd_server.store.local.uploads import LocalUploads

root = LocalRoot(Path(sys.argv[1]))
files = LocalFiles(root)
uploads = LocalUploads(root, files)
match sys.argv[2].split(" "):
    case ["create"]:
        files.create("a/b/k", b"new")
    case ["put"]:
        files.put("a/b/k", b"new")
    case ["delete"]:
        files.delete("a/b/k")
    case [method, upload_id]:
        upload = Upload("a/b/k", upload_id)
        getattr(uploads, method)(upload, [uploads.write_part(upload, 0, [b"new"])])
"""


def trace(root: Path, work: str, log: Path, *injection: str) -> int:
    """Runs a writer under strace; returns how it ended."""
    command = ["strace", "-f", "-y", "-e", f"trace={','.join(KINDS)}", "-o", str(log), *injection]
    writer = [sys.executable, "-S", "-c", WRITER, str(root), work]
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.run([*command, *writer], env=environment, capture_output=True).returncode


def calls_below(root: Path, log: Path) -> list[str]:
    """Returns the calls that name something below the root, each as `name path`, in order."""
    found = []
    for line in log.read_text().splitlines():
        name = re.match(r"\d+ +(\w+)\(", line)
        paths = re.findall(rf"{re.escape(str(root))}[^>\"]*", line)
        if name and paths:
            place = paths[-1].removeprefix(str(root))
            # Which of `link` and `linkat` it is depends on the processor.
            call = re.sub("at2?$", "", name[1])
            found.append(f"{call} {re.sub('[0-9a-f]{32}', '*', place) or '/'}")
    return found


async def prepared(root: Path, work: str) -> str:
    """Returns what to tell the writer, once there is what it needs."""
    store = LocalStore(root)
    if work not in ("create", "upload create"):
        await store.put("a/b/k", b"old")
    if work.startswith("upload "):
        begun = await store.start_upload("a/b/k")
        work = f"{work.removeprefix('upload ')} {begun.upload_id}"
    await store.close()
    return work


FOLDERS = ["fsync /a/b", "fsync /a", "fsync /"]
ORDERS = {
    "create": ["fsync /.assetd/store/incoming/*", "link /a/b/k", *FOLDERS],
    "put": ["fsync /.assetd/store/incoming/*", "rename /a/b/k", *FOLDERS],
    "delete": ["unlink /a/b/k", *FOLDERS],
    "upload create": [
        "fdatasync /.assetd/store/uploads/*",
        "fsync /.assetd/store/uploads/*",
        "link /a/b/k",
        *FOLDERS,
        "unlink /.assetd/store/uploads/*",
    ],
    "upload put": ["fsync /.assetd/store/uploads/*", "rename /a/b/k", *FOLDERS],
}


@pytest.mark.needs_program("strace")
@pytest.mark.parametrize("work", ORDERS)
async def test_what_is_told_survives_a_power_cut(root: Path, tmp_path: Path, work: str) -> None:
    """The bytes are on the disk before the key shows them, and the folders after it."""
    told = await prepared(root, work)
    assert trace(root, told, tmp_path / "log") == 0
    done = calls_below(root, tmp_path / "log")
    assert [call for call in done if call in ORDERS[work]] == ORDERS[work]
    shows = next(number for number, call in enumerate(done) if call.endswith(" /a/b/k"))
    assert not any(call.startswith(("pwrite64", "utimens")) for call in done[shows:])


@pytest.mark.needs_program("strace")
@pytest.mark.parametrize("work", ["put", "upload create"])
async def test_a_kill_at_any_call_leaves_the_old_or_the_new(tmp_path: Path, work: str) -> None:
    """Never a part of either; and whoever comes next finds nothing in the way."""
    kills = 0
    for kind in KINDS:
        for number in range(1, 10):
            root = tmp_path / f"{kind.strip('?')}-{number}"
            root.mkdir()
            told = await prepared(root, work)
            kill = f"inject={kind}:signal=KILL:when={number}"
            if trace(root, told, tmp_path / "log", "-e", kill) == 0:
                break
            kills += 1
            store = LocalStore(root)
            whole = {b"old", b"new"} if work == "put" else {b"new"}
            if work == "put" or (root / "a/b/k").exists():
                assert (await store.get("a/b/k", 9))[1] in whole
            await store.put("a/b/k", b"next")
            assert await keys(store) == ["a/b/k"]
            await store.close()
    assert kills >= 8


# Failures


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (errno.ENOSPC, DiskFullError),
        (errno.EDQUOT, DiskFullError),
        (errno.EACCES, StoreAccessDeniedError),
        (errno.EPERM, StoreAccessDeniedError),
        (errno.EROFS, StoreAccessDeniedError),
        (errno.EIO, StoreUnavailableError),
        (errno.ESTALE, StoreUnavailableError),
        (errno.EMFILE, StoreUnavailableError),
    ],
)
def test_what_the_system_says_is_told_in_words(
    root: Path, code: int, error: type[Exception]
) -> None:
    """With the store's url, the key and the cause, and with no path of this machine beside it."""
    local = LocalRoot(root)
    with pytest.raises(error) as caught, local.failures("a/k"):
        raise OSError(code, os.strerror(code), "/some/other/path")
    message = str(caught.value)
    assert root.as_uri() in message
    assert "'a/k'" in message
    assert os.strerror(code) in message
    assert "/some/other/path" not in message


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts")
    root = tmp_path / "small"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", root], check=True)
    yield root
    subprocess.run(["umount", root], check=True)


async def test_a_full_disk(small_disk: Path) -> None:
    """It is told as such, what was there stays, and nothing half is left."""
    store = LocalStore(small_disk)
    await store.put("k", b"fits")
    for call in (store.put, store.create):
        with pytest.raises(DiskFullError, match="make room"):
            await call("k", bytes(2 << 20))
    begun = await store.start_upload("large")
    with pytest.raises(DiskFullError):
        await store.upload_part(begun, 1, 0, [bytes(2 << 20)])
    await store.abort_upload(begun)
    assert files_below(small_disk) == ["k"]
    await store.put("k2", bytes(1 << 19))
    await store.close()


# Resources


async def test_descriptors_are_closed(store: LocalStore) -> None:
    """Of readers that are read, left in the middle, never begun, and of callers that are gone."""
    await store.create("k", b"0123456789")
    await store.get("k", 10)

    def open_count() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    before = open_count()
    for _ in range(20):
        _unread = await store.read("k")
        left = aiter(await store.read("k"))
        await anext(left)
        await left.aclose()  # type: ignore[attr-defined]
        assert b"".join([bytes(c) async for c in await store.read("k")]) == b"0123456789"
    del _unread, left
    calls = [asyncio.create_task(store.read("k")) for _ in range(20)]
    await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    del calls, call
    await store.close()
    assert open_count() <= before


async def test_an_executor_of_the_caller_stays_the_callers(root: Path) -> None:
    """The store neither ends it, nor needs another thread."""
    with ThreadPoolExecutor(1) as executor:
        store = LocalStore(root, executor=executor)
        await asyncio.gather(*(store.put(f"k{number}", b"x") for number in range(5)))
        await store.close()
        assert executor.submit(lambda: 1).result() == 1
        assert len(await keys(store)) == 5


def test_a_folder_that_disappears_is_made_again(root: Path) -> None:
    """Some times: somebody who removes it for ever is not outdone."""
    files = LocalFiles(LocalRoot(root))
    tries = []

    def show(target: Path) -> None:
        tries.append(target)
        if len(tries) < 3:
            raise FileNotFoundError
        target.touch()

    files.place("a/k", show)
    assert tries == [root / "a/k"] * 3

    def show_never(_: Path) -> None:
        raise FileNotFoundError

    with pytest.raises(StoreUnavailableError, match="disappearing"):
        files.place("a/k", show_never)


async def test_folders_that_come_and_go_are_in_nobodys_way(store: LocalStore) -> None:
    """A key whose empty folder another key needs to be a file, again and again."""

    async def toggle(key: str, refused: type[Exception] | tuple[Any, ...]) -> None:
        for _ in range(30):
            try:
                await store.create(key, b"x")
            except refused:
                continue
            await store.delete(key)

    await asyncio.gather(toggle("a", KeyExistsError), toggle("a/b/c", KeyExistsError))
    assert await keys(store) == []


def test_the_root_is_an_absolute_path() -> None:
    """A relative one would be another after the first chdir."""
    with pytest.raises(ValueError, match="relative"):
        LocalRoot(Path("relative"))


# Copies inside the store


async def copied(store: LocalStore, source: CopySource, length: int) -> bytes:
    """Returns what an object holds that was copied from another in one part."""
    begun = await store.start_upload("copy", for_copies=True)
    receipt = await store.copy_part(begun, 1, 0, length, source)
    await store.create_from_upload(begun, [receipt])
    return (await store.get("copy", 1 << 30))[1]


@pytest.mark.parametrize("code", [errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
async def test_a_kernel_that_does_not_copy_costs_time_only(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Between file systems, or on an old kernel, the bytes are read and written."""

    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "copy_file_range", refuse)
    data = os.urandom((1 << 20) + 7)
    info = await store.create("source", data)
    assert await copied(store, CopySource(store.url, "source", info.etag), len(data)) == data


async def test_a_disk_that_fails_while_it_copies_is_told(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says is given its meaning, as everywhere; nothing is read instead."""

    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "copy_file_range", fail)
    info = await store.create("source", b"source")
    with pytest.raises(DiskFullError):
        await copied(store, CopySource(store.url, "source", info.etag), 6)


@pytest.mark.parametrize("change", [b"longer than before", b"", b"same l"])
async def test_an_object_that_is_written_in_place_is_not_copied(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch, change: bytes
) -> None:
    """As modelkit does it; a copy has to be of one write."""
    info = await store.create("source", b"source")
    copy = os.copy_file_range

    def change_and_copy(*arguments: int) -> int:
        (root / "source").write_bytes(change)
        return copy(*arguments)

    monkeypatch.setattr(os, "copy_file_range", change_and_copy)
    with pytest.raises(EtagMismatchError):
        await copied(store, CopySource(store.url, "source", info.etag), 6)


async def test_a_link_is_not_copied(store: LocalStore, root: Path) -> None:
    """No more than it is read: what it leads to is nobody's object."""
    (root.parent / "secret").write_bytes(b"secret")
    (root / "source").symlink_to(root.parent / "secret")
    facts = (root.parent / "secret").stat()
    etag = f"{facts.st_ino:x}-{facts.st_mtime_ns:x}-{facts.st_size:x}"
    with pytest.raises(StoreAccessDeniedError):
        await copied(store, CopySource(store.url, "source", etag), 6)


# Locks


async def test_a_lock_that_is_never_let_go_is_a_failure(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that stops with a lock of a directory store stops no other: `STORE_UNAVAILABLE`.

    The message names the lock.
    """
    await store.put("k", b"first")
    upload = await store.start_upload("k")
    receipt = await store.upload_part(upload, 1, 0, [b"part"])
    monkeypatch.setattr(local_root, "LOCK_PATIENCE_SECONDS", 0.05)
    with ExitStack() as stack:
        for path in (root / WORK_FOLDER).glob("*/*"):
            if path.is_symlink():
                continue
            lock = stack.enter_context(path.open("rb"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        for call in (
            store.put("k", b"second"),
            store.delete("k"),
            store.upload_part(upload, 2, 4, [b"more"]),
            store.put_from_upload(upload, [receipt]),
            store.abort_upload(upload),
        ):
            with pytest.raises(StoreUnavailableError, match=rf"{WORK_FOLDER}/\w+/\w+ locked"):
                await call
    await store.put_from_upload(upload, [receipt])
    assert (await store.get("k", 10))[1] == b"part"


async def test_a_lock_is_waited_for(store: LocalStore, root: Path) -> None:
    """Whoever has it is nearly done."""
    await store.put("k", b"first")
    [path] = (root / WORK_FOLDER / "locks").iterdir()
    with path.open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        writing = asyncio.create_task(store.put("k", b"second"))
        done, _ = await asyncio.wait([writing], timeout=0.05)
        assert not done
    await writing
    assert (await store.get("k", 10))[1] == b"second"
