"""An index of many versions, read and written by what has changed in it.

Every push reads its asset's index and writes it, and most that stands there is what stood there the
last time: versions stay, and new ones come at the front. To decode thousands and to spell them
takes a processor milliseconds, in which several pushes could be answered.
"""

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass

from assetd_server.errors import BadIndexError, MixedVersioningError
from assetd_server.manifest import decode_index, encode_index
from assetd_server.versioning import Version, Versions

_BEGIN, _BETWEEN, _END = b'{"versions": [', b", ", b"]}"
# What `_BETWEEN` and quotes add to a version.
_SPELLING_BYTES = 4
# Half a millisecond; what is longer is decoded as a whole, off the event loop.
_MAX_FRONT_BYTES = 16 * 2**10
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
        joined = self.versions.joined_by(others)
        if joined is self.versions:
            return self
        # What is older than all that is added keeps its place from the end, and its bytes.
        newer = self.versions.count_newer(
            min(other for other in others if other not in self.versions)
        )
        if newer == len(self.versions):
            return IndexText(joined, encode_index(joined))
        front = encode_index(Versions(joined[: len(joined) - len(self.versions) + newer]))
        start = sum(len(version.text) + _SPELLING_BYTES for version in self.versions[:newer])
        return IndexText(joined, _spliced(front, self.raw[len(_BEGIN) + start :]))

    def changed_to(self, raw: bytes) -> "IndexText | None":
        """Return what other bytes list; None where they have to be decoded as a whole.

        They have to where little of them stands here, and where they are not spelled so.
        """
        begin = raw.find(_BETWEEN, len(raw) - _shared_tail_bytes(self.raw, raw))
        if not 0 <= begin <= _MAX_FRONT_BYTES:
            return None
        # Both end in this, and no version is spelled with what is between two.
        tail = raw[begin + len(_BETWEEN) :]
        older = self.versions[-(tail.count(_BETWEEN) + 1) :]
        front_raw = raw[:begin] + _END
        try:
            front = decode_index(front_raw, "")
            joined = front.joined_by(older[:1])
        except (BadIndexError, MixedVersioningError):
            return None
        if joined[:-1] != front or encode_index(front) != front_raw:
            return None
        return IndexText(Versions((*front, *older)), raw)


@dataclass(frozen=True)
class Index:
    """An asset's index, and the write that said so."""

    text: IndexText
    etag: str

    @property
    def versions(self) -> Versions:
        """What it lists, newest first."""
        return self.text.versions


def _spliced(front: bytes, tail: bytes) -> bytes:
    return front.removesuffix(_END) + _BETWEEN + tail


def _shared_tail_bytes(one: bytes, other: bytes) -> int:
    """Return how many bytes two texts have in common at their ends."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one.endswith(other[-middle:]):
            low = middle
        else:
            high = middle - 1
    return low


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
