"""The order in which versions were used, kept from one run to the next in `.assetd/order`.

A help for choosing victims after a restart, and nothing else: it is not synced, may be torn, stale
or deleted, and what it says of a version that is not there does not matter. Ages are seconds that
daemons have run since the use, so that no clock's jump makes anything older. Whether they are the
last word of a run that ended well is told by `.assetd/ended`. All functions block.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from assetd_server.cache.ingest import write_new
from assetd_server.cache.layout import OWN_FOLDER, AssetsDir, os_errors
from assetd_server.errors import AssetError

_ORDER = "order"
_ASIDE = "order.new"
_ENDED = "ended"
_MAX_ORDER_BYTES = 256 * 2**20
_TIME = r"(-|-?\d{1,20})"
_LINE = re.compile(rf"(\d{{1,12}}) {_TIME} (-|\d{{1,20}}) {_TIME} (.+)", re.ASCII)


@dataclass(frozen=True)
class Remembered:
    """One version: its path below ASSETS_DIR, its age, its marker's mtime when last seen.

    `size_bytes` is what our receipt in that marker says; None where it is none of ours.
    `folder_time_ns` is the mtime of the asset's folder, where all that is in it was known by then.
    """

    key: str
    age_seconds: float
    marker_time_ns: int | None
    size_bytes: int | None
    folder_time_ns: int | None = None


def write_order(assets_dir: AssetsDir, order: Iterable[Remembered]) -> None:
    """Save the order, least recently used first.

    Raises:
        ReadOnlyError, DiskFullError, IoError: it is not saved.
    """
    lines = [
        f"{one.age_seconds:.0f} {_number(one.marker_time_ns)} {_number(one.size_bytes)}"
        f" {_number(one.folder_time_ns)} {one.key}\n"
        for one in order
    ]
    with os_errors(OWN_FOLDER), assets_dir.ensured_folder(OWN_FOLDER) as fd:
        write_new(assets_dir, f"{OWN_FOLDER}/{_ASIDE}", "".join(lines).encode())
        assets_dir.fs.rename(fd, _ASIDE, fd, _ORDER)


def note_end(assets_dir: AssetsDir) -> None:
    """Note that nothing is used any more in this run after the order that was saved.

    Raises:
        ReadOnlyError, DiskFullError, IoError: it is not noted.
    """
    with os_errors(OWN_FOLDER), assets_dir.ensured_folder(OWN_FOLDER):
        write_new(assets_dir, f"{OWN_FOLDER}/{_ENDED}", b"")


def take_end(assets_dir: AssetsDir) -> bool:
    """Tell, once, whether the run before this one has noted its end.

    For the start of a run, before anything is used in it. False where it cannot be told.
    """
    try:
        with os_errors(OWN_FOLDER), assets_dir.folder(OWN_FOLDER) as fd:
            assets_dir.fs.unlink(fd, _ENDED)
            # A power cut must not bring it back: this run may have used something by then.
            assets_dir.fs.fsync(fd)
    except AssetError:
        return False
    return True


def read_order(assets_dir: AssetsDir) -> list[Remembered]:
    """Return the saved order; empty where there is none, without what cannot be read."""
    try:
        with os_errors(OWN_FOLDER):
            content = assets_dir.read_small(f"{OWN_FOLDER}/{_ORDER}", _MAX_ORDER_BYTES)
    except AssetError:
        return []
    lines = (content or b"").decode(errors="replace").split("\n")
    return [one for line in lines if (one := _parse(line))]


def _number(number: int | None) -> str:
    return "-" if number is None else str(number)


def _parse(line: str) -> Remembered | None:
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    age, marker, size, folder, key = match.groups()
    return Remembered(
        key,
        float(age),
        _parsed_number(marker),
        _parsed_number(size),
        _parsed_number(folder),
    )


def _parsed_number(text: str) -> int | None:
    return None if text == "-" else int(text)
