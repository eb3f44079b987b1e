"""An index of many versions, read and written by what has changed in it.

Every push reads its asset's index and writes it, and most that stands there is what stood there the
last time: versions stay, and a few come, at the front of each major's line. To decode thousands and
to spell them takes a processor milliseconds, in which several pushes could be answered.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

from assetd_server.errors import BadIndexError, MixedVersioningError
from assetd_server.manifest import decode_index, encode_index
from assetd_server.versioning import Version, Versions

_BEGIN, _BETWEEN, _END = b'{"versions": [', b", ", b"]}"
# So few are decoded faster than they are told apart.
_FEW = 16
# Half a millisecond; where more is new the whole is decoded, off the event loop.
_MAX_NEW_BYTES = 16 * 2**10
# Each takes some 20 bytes a version, which others may hold anyway.
_MAX_KEPT = 16


@dataclass(frozen=True)
class IndexText:
    """Versions, and the bytes that `encode_index` lists them with."""

    versions: Versions
    raw: bytes

    @classmethod
    def decode(cls, raw: bytes, key: str) -> "IndexText":
        """Return what the bytes at `key` list, however they spell it; see `decode_index`."""
        versions = decode_index(raw, key)
        return cls(versions, encode_index(versions))

    def joined_by(self, others: Collection[Version]) -> "IndexText":
        """Return the text that lists other versions as well.

        Raises:
            MixedVersioningError: the versions are of two systems.
        """
        added = self.versions.lacking(others)
        if not added:
            return self
        joined = self.versions.joined_by(added)
        pieces: list[bytes] = []
        begin = len(_BEGIN)
        for version in added:
            newer = self.versions.count_newer(version)
            if newer == len(self.versions):
                return IndexText(joined, encode_index(joined))
            place = self.raw.find(_spelled(self.versions[newer]), begin)
            pieces += [self.raw[begin:place], _spelled(version), _BETWEEN]
            begin = place
        return IndexText(joined, b"".join([_BEGIN, *pieces, self.raw[begin:]]))

    def changed_to(self, raw: bytes) -> "IndexText | None":
        """Return what other bytes list; None where they have to be decoded as a whole.

        They have to where much of them does not stand here, and where they are not spelled so.
        """
        if not (raw.startswith(_BEGIN) and raw.endswith(_END)):
            return None
        try:
            pieces = [*_read(self.versions, _listed(self.raw), _listed(raw))]
        except _OtherwiseError:
            return None
        if any(newer[-1] <= older[0] for newer, older in pairwise(pieces)):
            return None
        if len({len(version) for piece in pieces for version in piece[:1]}) > 1:
            return None
        return IndexText(Versions(chain.from_iterable(pieces)), raw)


class _OtherwiseError(Exception):
    """It is not spelled as `encode_index` does it, or too much of it is new."""


def _read(versions: Sequence[Version], before: bytes, now: bytes) -> Iterator[Sequence[Version]]:
    """Yield, in parts that are not empty, what `now` lists, where `before` lists `versions`.

    What is equal is taken as it was. What is not is halved, at a version that both list, until
    there is little left to decode.
    """
    if not now:
        return
    if now == before:
        yield versions
        return
    half = len(versions) // 2
    pivot = _spelled(versions[half]) if len(versions) > _FEW else b""
    place = now.find(pivot) if pivot else -1
    if place < 0:
        yield _decoded(now)
        return
    at = before.index(pivot)
    yield from _read(versions[:half], _before(before, at), _before(now, place))
    yield from _read(versions[half:], before[at:], now[place:])


def _decoded(listed: bytes) -> Versions:
    if len(listed) > _MAX_NEW_BYTES:
        raise _OtherwiseError
    raw = _BEGIN + listed + _END
    try:
        versions = decode_index(raw, "")
    except (BadIndexError, MixedVersioningError):
        raise _OtherwiseError from None
    if encode_index(versions) != raw:
        raise _OtherwiseError
    return versions


def _before(listed: bytes, place: int) -> bytes:
    """Return what is listed before a place, without what stands between the two."""
    if place and not listed.startswith(_BETWEEN, place - len(_BETWEEN)):
        raise _OtherwiseError
    return listed[: max(place - len(_BETWEEN), 0)]


def _listed(raw: bytes) -> bytes:
    return raw[len(_BEGIN) : -len(_END)]


def _spelled(version: Version) -> bytes:
    return b'"%s"' % version.text.encode()


@dataclass(frozen=True)
class Index:
    """An asset's index, and the write that said so."""

    text: IndexText
    etag: str

    @property
    def versions(self) -> Versions:
        """What it lists, newest first."""
        return self.text.versions


class IndexTexts:
    """The texts of the indexes that were read last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, IndexText] = OrderedDict()

    def find(self, key: str, raw: bytes) -> IndexText | None:
        """Return what the bytes at `key` list, if that can be told from what stood there before."""
        text = self._kept.get(key)
        if text is not None and text.raw != raw:
            text = text.changed_to(raw)
        if text is not None:
            self.keep(key, text)
        return text

    def keep(self, key: str, text: IndexText) -> None:
        """Keep what stands at `key`."""
        self._kept[key] = text
        self._kept.move_to_end(key)
        if len(self._kept) > _MAX_KEPT:
            self._kept.popitem(last=False)
