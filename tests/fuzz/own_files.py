"""The targets that are files of a daemon's own, which only damage or another hand makes odd.

What is read of one has to be sound, or nothing; and never is an error.
"""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from assetd_server.assets.push_records import PushRecord, decode_record
from assetd_server.cache.layout import PINS, AssetsDir, VersionPaths
from assetd_server.cache.linux import FileSystem
from assetd_server.cache.partial import PartialReceipt, decode_partial
from assetd_server.cache.pins import Pins
from assetd_server.cache.push_journal import PushJournal
from assetd_server.cache.receipt import Marker
from assetd_server.cache.use_order import Remembered, read_order
from assetd_server.model import Verification

from tests.fuzz.documents import (
    CLAIM,
    FOLDER,
    NAME,
    PARTS,
    VERSION,
    OneFile,
    consistent_receipt,
    judge_claimed,
    require_sound,
)
from tests.fuzz.mutating import in_lines, of_documents, of_pieces
from tests.fuzz.target import Target, document_target
from tests.support.versions import receipt_of

_PARTIAL: Final = PartialReceipt(
    receipt_of(FOLDER), {part.path: Verification.SIZE for part in PARTS[:2]}
).encode()
_RECORD: Final = b"\n".join(
    [
        json.dumps({"name": NAME, "version": str(VERSION), "claim": CLAIM.decode()}).encode(),
        json.dumps([f"{NAME}/{VERSION}/a", "u"]).encode(),
        b"",
    ]
)
_ORDER: Final = b"12 1760000000000000000 300 - some/asset/0.1\n0 - - -5 a/0.1\n"
_PIECES: Final = (b"-", b"\n", b" ", b"0", b"9" * 12, b"9" * 21, b"-1", b"a/0.1", b"\xff", b"\0")


def own_file_targets(folder: Path) -> Iterable[Target]:
    """Yield them; in `folder` stand the files that are read."""
    yield document_target(
        "partial",
        decode_partial,
        judge_partial,
        (_PARTIAL,),
        of_documents((_PARTIAL,), consistent_partial),
    )
    root = folder / "own"
    (root / PINS).mkdir(parents=True)
    (root / ".assetd/push/.journal").mkdir(parents=True)
    assets_dir = AssetsDir(str(root), FileSystem())
    pin, entry, order = (
        OneFile(root / path)
        for path in (f"{PINS}/one", ".assetd/push/.journal/one", ".assetd/order")
    )
    pin_seeds = (f"{VersionPaths(NAME, VERSION).data}\n".encode(),)

    def pinned(raw: bytes) -> Pins:
        pin.hold(raw)
        pins = Pins(assets_dir)
        pins.load()
        return pins

    def remembered(raw: bytes) -> list[Remembered]:
        order.hold(raw)
        return read_order(assets_dir)

    def recorded(raw: bytes) -> PushRecord:
        entry.hold(raw)
        return decode_record(PushJournal(assets_dir).entries()["one"])

    of_texts = of_pieces((_ORDER,), _PIECES)
    yield document_target("pin", pinned, judge_pins, pin_seeds, of_pieces(pin_seeds), opens=True)
    yield document_target("use-order", remembered, judge_order, (_ORDER,), of_texts, opens=True)
    yield document_target(
        "push-record",
        recorded,
        judge_record,
        (_RECORD,),
        in_lines(of_documents(_RECORD.split(b"\n")[:2]), lambda text: text),
        opens=True,
        refusals=(ValueError,),
    )


def consistent_partial(document: Any) -> Any:
    """The document with the sizes of its files, and some of them here."""
    consistent_receipt(document)
    document["present"] = dict.fromkeys(list(document["files"])[:2], "size")
    return document


def judge_partial(raw: bytes, read: tuple[Marker, PartialReceipt | None] | None) -> None:
    """Some of the parts are here, of a version that is sound; and it is written as it is read."""
    assert read is not None
    marker, receipt = read
    assert (receipt is not None) is (marker is Marker.RECEIPT)
    if receipt is None:
        return
    require_sound(receipt.manifest)
    assert receipt.present.keys() <= {part.path for part in receipt.manifest.parts}
    assert 0 <= receipt.disk_bytes <= (receipt.manifest.size_bytes or 0)
    again = decode_partial(receipt.encode())[1]
    assert again is not None, raw
    assert (again.manifest, again.present) == (receipt.manifest, receipt.present)


def judge_pins(raw: bytes, pins: Pins | None) -> None:
    """What was pinned stays so, and is what the file says."""
    assert pins is not None
    data = VersionPaths(NAME, VERSION).data
    assert pins.is_pinned(data) is (raw.rstrip(b"\n") == data.encode())


def judge_order(_raw: bytes, order: list[Remembered] | None) -> None:
    """Whatever it says is a number, and of one version."""
    assert order is not None
    for one in order:
        assert one.key
        assert "\n" not in one.key
        assert math.isfinite(one.age_seconds)
        assert one.age_seconds >= 0
        assert one.size_bytes is None or one.size_bytes >= 0


def judge_record(_raw: bytes, record: PushRecord | None) -> None:
    """Its uploads are those of its version, and its claim can be put into a store."""
    if record is None:
        return
    judge_claimed(record.claim)
    assert record.key
    for upload in record.uploads:
        f"{upload.key} {upload.upload_id}".encode()
        assert upload.key.startswith(f"{record.name}/{record.version}")
