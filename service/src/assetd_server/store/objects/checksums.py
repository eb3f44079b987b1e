"""The checksums that S3 stores keep: how they are asked for, sent and read.

AWS and its better imitations compute a CRC-64/NVME over the whole object, also over one that came
in pieces; each piece then needs its own. Others ignore that, or refuse it. Knows no SDK.
"""

import base64
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from awscrt import checksums

from assetd_server.store.base import Buffer
from assetd_server.store.objects.failures import Refusal

CHECKED_UPLOAD = {"ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "FULL_OBJECT"}

_MD5_ETAG = re.compile(r'"([0-9a-f]{32})"')
_UNKNOWN_CODES = {"BadRequest", "InvalidArgument", "InvalidRequest", "NotImplemented"}


def checksum_text(data: Iterable[Buffer]) -> str:
    """Return the checksum of a piece, as its header spells it."""
    value: int = 0
    for buffer in data:
        value = checksums.crc64nvme(buffer, value)
    return base64.b64encode(value.to_bytes(8, "big")).decode()


def whole_checksum(answer: Mapping[str, Any]) -> int | None:
    """Return the checksum of the whole object that an answer tells; None where it tells none."""
    text = answer.get("ChecksumCRC64NVME")
    if not text or answer.get("ChecksumType") != "FULL_OBJECT":
        return None
    return int.from_bytes(base64.b64decode(text), "big")


def receipt_of(etag: str, checksum: str | None) -> str:
    """Return what completing an upload needs to know of a piece, in one string."""
    return f"{etag} {checksum}" if checksum else etag


def completed_part(number: int, receipt: str) -> dict[str, object]:
    """Return what CompleteMultipartUpload says of a piece."""
    etag, _, checksum = receipt.partition(" ")
    part: dict[str, object] = {"PartNumber": number, "ETag": etag}
    return part | {"ChecksumCRC64NVME": checksum} if checksum else part


def is_unknown(refusal: Refusal) -> bool:
    """Tell whether a store may have refused for want of knowing the checksum."""
    return refusal.code in _UNKNOWN_CODES or refusal.status == HTTPStatus.NOT_IMPLEMENTED


def md5_of(etag: str) -> str | None:
    """Return the MD5 that an ETag spells, if it looks like one."""
    found = _MD5_ETAG.fullmatch(etag)
    return found[1] if found else None
