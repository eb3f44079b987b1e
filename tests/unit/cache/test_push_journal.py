"""What pushes note before they claim: whole lines survive, whatever happens between them."""

import errno
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from assetd_server.cache.layout import AssetsDir
from assetd_server.cache.push_journal import PushJournal
from assetd_server.errors import DiskFullError, ReadOnlyError

from tests.support.file_systems import FaultyFileSystem


@pytest.fixture
def journal(assets_dir: AssetsDir) -> PushJournal:
    """The journal of an ASSETS_DIR in which nobody has pushed."""
    return PushJournal(assets_dir)


def test_entries_are_read_as_they_were_written(journal: PushJournal) -> None:
    """By their keys, line by line, until they are removed."""
    assert journal.entries() == {}
    journal.add("a-0.0", b"first")
    journal.append("a-0.0", b"second")
    journal.add("b-1.0", b"other")
    assert journal.entries() == {"a-0.0": [b"first", b"second"], "b-1.0": [b"other"]}
    journal.remove("a-0.0")
    journal.remove("a-0.0")
    assert journal.entries() == {"b-1.0": [b"other"]}


def test_a_line_that_was_cut_short_is_left_out(journal: PushJournal, root: Path) -> None:
    """At any byte: what stands before it counts."""
    journal.add("a", b"first")
    journal.append("a", b"second")
    path = root / ".assetd/push/.journal/a"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        expected = [line for line in (b"first",) if length > len(line)]
        assert journal.entries() == {"a": expected}


def test_threads_that_append_at_once_lose_no_line(journal: PushJournal) -> None:
    """A push notes its uploads from many threads, and the names are of all lengths."""
    lines = [b"x" * (1 + number % 97) + b" %d" % number for number in range(2000)]
    journal.add("a", b"first")
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda line: journal.append("a", line), lines))
    assert sorted(journal.entries()["a"]) == sorted([b"first", *lines])


def test_an_entry_is_durable_with_its_folder(journal: PushJournal, fs: FaultyFileSystem) -> None:
    """The file is synced, and the folder after it."""
    journal.add("warm", b"up")
    fs.calls.clear()
    journal.add("a", b"first")
    names = [call.name for call in fs.named("pwritev", "fsync")]
    assert names[names.index("pwritev") :] == ["pwritev", "fsync", "fsync"]


@pytest.mark.parametrize(
    ("code", "error"), [(errno.ENOSPC, DiskFullError), (errno.EROFS, ReadOnlyError)]
)
def test_a_disk_that_takes_nothing(
    journal: PushJournal, fs: FaultyFileSystem, code: int, error: type[Exception]
) -> None:
    """It is told, and there is no entry that counts."""
    fs.fail(1, code, "pwritev")
    with pytest.raises(error):
        journal.add("a", b"first")
    assert journal.entries() in ({}, {"a": []})
