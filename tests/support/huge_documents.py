"""Documents as large as their limits allow, made to cost as much as they can.

As a program it decodes one, and says what became of it: `python -m tests.support.huge_documents
KIND`. The process is given an address space for that, so that a reader which takes too much fails
there and not on the machine.
"""

import resource
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

from assetd_server.assets.paging import read_token
from assetd_server.cache.receipt import MAX_RECEIPT_BYTES, decode_marker
from assetd_server.errors import AssetError
from assetd_server.manifest import (
    MAX_INDEX_BYTES,
    MAX_MANIFEST_BYTES,
    decode_index,
    decode_manifest,
)
from assetd_server.model import AssetName, PartPath
from assetd_server.spec import Spec

# Beside the document itself; half of it is what JSON's text takes, as long as the document.
MAX_MORE_BYTES: Final = 192 * 2**20


def filled(element: bytes, size_bytes: int, begin: bytes = b'{"contents":[') -> bytes:
    """An array of so many equal elements that the document has that size."""
    count = (size_bytes - len(begin) - len(element) - 2) // (len(element) + 1)
    return begin + (element + b",") * count + element + b"]}"


def deep_paths(size_bytes: int) -> bytes:
    """Parts in 500 folders each, none of which has another one's."""
    begin = b'{"push_date":"2026-11-01","is_directory":true,"contents":['
    count = (size_bytes - len(begin)) // 1030
    return begin + b",".join(b'"%06x%s"' % (n, b"/a" * 508) for n in range(count)) + b"]}"


def _manifest(raw: bytes) -> object:
    return decode_manifest(raw, "key").kind


_Reader = Callable[[Any], object]
DOCUMENTS: Final[dict[str, tuple[Callable[[], bytes | str], _Reader]]] = {
    "arrays": (lambda: filled(b"[]", MAX_MANIFEST_BYTES), _manifest),
    "objects": (lambda: filled(b"{}", MAX_MANIFEST_BYTES), _manifest),
    "numbers": (lambda: filled(b"0.5", MAX_MANIFEST_BYTES), _manifest),
    "nested": (lambda: filled(b"[" * 500 + b"]" * 500, MAX_MANIFEST_BYTES), _manifest),
    "one text": (lambda: filled(b'"%s"' % (b"a" * (MAX_MANIFEST_BYTES - 20)), 40), _manifest),
    # A quarter will do: all that was gathered of it once were gigabytes.
    "deep paths": (lambda: deep_paths(MAX_MANIFEST_BYTES // 4), _manifest),
    "nothing": (lambda: b" " * MAX_MANIFEST_BYTES, _manifest),
    "an index of arrays": (
        lambda: filled(b"[]", MAX_INDEX_BYTES, b'{"versions":['),
        lambda raw: decode_index(raw, "key"),
    ),
    "a receipt of arrays": (
        lambda: filled(b"[]", MAX_RECEIPT_BYTES, b'{"format":1,"files":['),
        lambda raw: decode_marker(raw)[0],
    ),
    "a token": (lambda: "A" * 2**26, lambda text: read_token(text, (), 2)),
    "a spec": (lambda: "a/" * 2**25, Spec.parse),
    "a name": (lambda: "a/" * 2**25 + "a", AssetName),
    "a part": (lambda: "a/" * 2**25 + "a", PartPath),
}


def _refused_or_read(raw: bytes) -> None:
    with suppress(AssetError):
        decode_manifest(raw, "key")


def _contents(paths: Iterable[str]) -> bytes:
    listed = ",".join(f'"{path}"' for path in paths)
    head = '{"push_date":"2026-11-01","is_directory":true,"contents":['
    return f"{head}{listed}]}}".encode()


def _files(count: int, facts: str) -> bytes:
    listed = ",".join(f'"{n:x}":{facts}' for n in range(count))
    head = (
        '{"push_date":"2026-11-01","is_directory":true,"contents":[],"assetd":{"format":1,"files":{'
    )
    return f"{head}{listed}}}}}}}".encode()


# Of all that was tried at 64 KiB the most costly; each ends at the very last check, or is read.
LONG_DOCUMENTS: Final[dict[str, tuple[bytes, Callable[[bytes], object]]]] = {
    "many parts": (_contents(f"{n:x}" for n in range(9_700)), _refused_or_read),
    "deep parts": (_contents(f"{n:02x}" + "/a" * 500 for n in range(64)), _refused_or_read),
    "many files": (_files(6_800, "{}"), _refused_or_read),
    "whole files": (
        _files(540, f'{{"size":1,"sha256":"{"0" * 64}","crc64nvme":"AAAAAAAAAAA="}}'),
        _refused_or_read,
    ),
    "an index": (
        b'{"versions":[' + b",".join(b'"%d.0"' % n for n in range(7_300)) + b"]}",
        lambda raw: decode_index(raw, "key"),
    ),
    "an index of dates": (
        b'{"versions":['
        + b",".join(
            b'"2026-11-23T%02d-%02d-%02dZ"' % (n // 3600, n // 60 % 60, n % 60)
            for n in range(2_800)
        )
        + b"]}",
        lambda raw: decode_index(raw, "key"),
    ),
}


def main() -> None:
    """Decode one, and say the reason for which it was refused, or what it is."""
    make, read = DOCUMENTS[sys.argv[1]]
    document = make()
    size_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    limit = size_bytes + len(document) + MAX_MORE_BYTES
    # What is mapped and not used, libraries and arenas, is counted too.
    used = _address_space_bytes() + limit - size_bytes
    resource.setrlimit(resource.RLIMIT_AS, (used, used))
    try:
        said = str(read(document))
    except AssetError as error:
        said = error.reason
    sys.stdout.write(said)


def _address_space_bytes() -> int:
    with open("/proc/self/statm") as facts:  # noqa: PTH123 - one number
        return int(facts.read().split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    main()
