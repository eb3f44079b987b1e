"""The journal: what was said comes back, up to the first line that is torn or damaged."""

import json
from pathlib import Path

import pytest
from assetd_server.cache.ingest import checksum_of
from assetd_server.cache.journal import Journal, Written, read_journal
from assetd_server.cache.layout import AssetsDir
from assetd_server.manifest import Part
from assetd_server.model import AssetKind, PartPath

from tests.support.file_systems import FaultyFileSystem, StutteringFileSystem
from tests.support.versions import part_of

FOLDER = "staged"
PARTS = [part_of("a", b"1" * 100), part_of("sub/b\u00e4", b"2" * 50)]
A, B = (part.path for part in PARTS)
SAID = [
    Written(A, 0, 40, 7, '"etag"'),
    Written(B, 0, 50, 2**64 - 1),
    Written(A, 40, 60, 9, '"etag"'),
]


@pytest.fixture(autouse=True)
def folder(root: Path) -> Path:
    """Where the journal lies."""
    folder = root / FOLDER
    folder.mkdir()
    return folder


def read(
    assets_dir: AssetsDir, parts: list[Part] = PARTS, kind: AssetKind = AssetKind.DIRECTORY
) -> list[Written]:
    """All that is said, part by part."""
    said = read_journal(assets_dir, FOLDER, kind, parts)
    return [written for ranges in said.values() for written in ranges]


def write(assets_dir: AssetsDir, *said: Written) -> Journal:
    """A journal that says this, a range at a time, closed."""
    journal = Journal(assets_dir, FOLDER, AssetKind.DIRECTORY, PARTS)
    for written in said:
        journal.add([written])
    journal.close()
    return journal


def in_order(said: list[Written]) -> list[Written]:
    """As `read` gives them."""
    return sorted(said, key=lambda written: (written.part != A, said.index(written)))


def test_what_was_said_comes_back(assets_dir: AssetsDir) -> None:
    """Each range with its checksum and ETag, part by part, in the order of writing."""
    assert write(assets_dir).is_empty
    assert not write(assets_dir, *SAID).is_empty
    assert read(assets_dir) == in_order(SAID)


def test_a_batch_is_one_write(assets_dir: AssetsDir, fs: FaultyFileSystem) -> None:
    """Thousands of small files must not cost a write each; and none is synced."""
    journal = Journal(assets_dir, FOLDER, AssetKind.DIRECTORY, PARTS)
    fs.calls.clear()
    journal.add(SAID)
    assert [call.name for call in fs.calls] == ["pwritev"]
    journal.close()
    assert read(assets_dir) == in_order(SAID)


def test_short_writes_tear_nothing(root: Path) -> None:
    """The kernel may take less than it was given."""
    assets_dir = AssetsDir(str(root), StutteringFileSystem())
    write(assets_dir, *SAID)
    assert read(assets_dir) == in_order(SAID)
    assets_dir.close()


def test_a_tail_that_is_torn_at_any_byte_is_cut(assets_dir: AssetsDir, folder: Path) -> None:
    """A journal that is torn at any byte holds up to there.

    Without a whole first line there is nothing.
    """
    write(assets_dir, *SAID)
    whole = (folder / "journal").read_bytes()
    ends = [index for index, byte in enumerate(whole) if byte == ord("\n")]
    for length in range(len(whole)):
        (folder / "journal").write_bytes(whole[:length])
        lines = sum(end < length for end in ends)
        assert read(assets_dir) == in_order(SAID[: max(lines - 1, 0)]), length


def test_a_byte_that_flips_anywhere_ends_the_journal(assets_dir: AssetsDir, folder: Path) -> None:
    """A journal that is damaged at any byte says nothing that was not written.

    A damaged line and all behind it is cut.
    """
    write(assets_dir, *SAID)
    whole = (folder / "journal").read_bytes()
    for index in range(len(whole)):
        damaged = bytearray(whole)
        damaged[index] ^= 1
        (folder / "journal").write_bytes(damaged)
        lines = whole[:index].count(b"\n")
        assert read(assets_dir) == in_order(SAID[: max(lines - 1, 0)]), index


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        (PARTS[:1], AssetKind.DIRECTORY),
        (PARTS, AssetKind.FILE),
        ([PARTS[0], part_of("sub/b\u00e4", b"3" * 50)], AssetKind.DIRECTORY),
        ([Part(part.path, part.size_bytes) for part in PARTS], AssetKind.DIRECTORY),
        ([], AssetKind.DIRECTORY),
    ],
)
def test_it_is_about_one_content(assets_dir: AssetsDir, parts: list[Part], kind: AssetKind) -> None:
    """For another manifest of the version it says nothing."""
    write(assets_dir, *SAID)
    assert read(assets_dir, parts, kind) == []


def line(record: object) -> bytes:
    """A line as the journal has it, whatever it says."""
    text = json.dumps(record).encode()
    return b"%016x %s\n" % (checksum_of([text]), text)


@pytest.mark.parametrize(
    "record",
    [
        {"format": 2},
        ["a", 0, 101, 7, ""],
        ["a", -1, 5, 7, ""],
        ["a", 0, 5, 7],
        ["none", 0, 1, 7, ""],
        ["none"],
        [0],
        None,
        "a",
    ],
)
def test_what_it_does_not_know_is_no_journal(
    assets_dir: AssetsDir, folder: Path, record: object
) -> None:
    """A later release's records, or nonsense with a good checksum: nothing is said at all."""
    write(assets_dir, *SAID)
    with (folder / "journal").open("ab") as journal:
        journal.write(line(record))
    assert read(assets_dir) == []


@pytest.mark.parametrize("text", [b"", b"{", b"[" * 100_000])
def test_what_is_no_json_ends_it(assets_dir: AssetsDir, folder: Path, text: bytes) -> None:
    """A checksum is no grammar."""
    write(assets_dir, *SAID)
    with (folder / "journal").open("ab") as journal:
        journal.write(b"%016x %s\n" % (checksum_of([text]), text))
    assert read(assets_dir) == in_order(SAID)


def test_a_later_format_is_no_journal(assets_dir: AssetsDir, folder: Path) -> None:
    """Nothing is said in a format that may mean something else."""
    write(assets_dir, *SAID)
    first, _, rest = (folder / "journal").read_bytes().partition(b"\n")
    head = json.loads(first.partition(b" ")[2])
    (folder / "journal").write_bytes(line({**head, "format": 2}) + rest)
    assert read(assets_dir) == []


def test_a_dropped_part_holds_no_more(assets_dir: AssetsDir) -> None:
    """What is said of it after that holds again."""
    journal = Journal(assets_dir, FOLDER, AssetKind.DIRECTORY, PARTS)
    journal.add(SAID)
    journal.drop(A)
    assert read(assets_dir) == [SAID[1]]
    again = Written(A, 0, 100, 3, '"other"')
    journal.add([again])
    journal.close()
    assert sorted(read(assets_dir), key=lambda written: written.part) == [again, SAID[1]]


def test_a_journal_begins_with_what_was_kept(assets_dir: AssetsDir, folder: Path) -> None:
    """The earlier one is replaced in one step, never written over."""
    write(assets_dir, *SAID)
    with (folder / "journal").open("rb") as earlier:
        begun = Journal(assets_dir, FOLDER, AssetKind.DIRECTORY, PARTS, SAID[:1])
        assert not begun.is_empty
        begun.close()
        begun.close()
        assert len(earlier.read().splitlines()) == len(SAID) + 1
    assert read(assets_dir) == SAID[:1]
    assert [path.name for path in folder.iterdir()] == ["journal"]


def test_a_file_asset_has_one_part_without_a_name(assets_dir: AssetsDir) -> None:
    """Its journal names it by the empty path."""
    parts = [part_of("", b"123")]
    journal = Journal(assets_dir, FOLDER, AssetKind.FILE, parts)
    said = Written(PartPath.of_file(), 0, 3, 7, "etag")
    journal.add([said])
    journal.close()
    assert read(assets_dir, parts, AssetKind.FILE) == [said]


def test_nothing_is_said_where_no_journal_is(assets_dir: AssetsDir, folder: Path) -> None:
    """Absent, or something else of that name."""
    assert read(assets_dir) == []
    (folder / "journal").mkdir()
    assert read(assets_dir) == []
