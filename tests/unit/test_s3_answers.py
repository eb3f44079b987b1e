"""What becomes of answers that no S3 server gives on demand: broken, foreign, refused, none.

The server sends what the test scripts; the store is the real one, with both of its SDKs.
"""

import hashlib
import io
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

import botocore.session
import pytest
from assetd_server.errors import (
    DiskFullError,
    StoreAccessDeniedError,
    StoreUnavailableError,
    UnsafeStoreError,
)
from assetd_server.store.base import (
    CannotCopyError,
    CopySource,
    EtagMismatchError,
    KeyExistsError,
    KeyNotFoundError,
    ObjectInfo,
    ObjectStore,
    Upload,
    UploadNotFoundError,
)
from assetd_server.store.objects import S3Settings, open_s3_store, uploads
from assetd_server.store.objects.body import BodyFile
from assetd_server.store.objects.checksums import checksum_text
from assetd_server.store.retrying import RetryingStore
from awscrt import checksums
from structlog.testing import capture_logs

from tests.support.ports import LOOPBACK
from tests.support.scripted_s3 import (
    Answer,
    Ending,
    Request,
    Scripted,
    ScriptedS3,
    found,
    found_range,
    refused,
    scripted_s3,
)

DATA = bytes(range(256)) * 4
UPLOAD = Upload(key="k", upload_id="u1")


@cache
def _session() -> botocore.session.Session:
    """One for all tests: it reads its models from disk once."""
    session = botocore.session.Session()
    session.set_credentials("key-id", "secret", "session-token")
    return session


def open_store(
    endpoint_url: str, *, stall_timeout_seconds: float = 30.0, **settings: Any
) -> ObjectStore:
    """Returns the store at an endpoint."""
    return open_s3_store(
        S3Settings(
            bucket="bucket",
            prefix="pre",
            endpoint_url=endpoint_url,
            region="us-east-1",
            stall_timeout_seconds=stall_timeout_seconds,
            chunk_bytes=64,
            **settings,
        ),
        session=_session(),
    )


@asynccontextmanager
async def answered_by(
    *script: Scripted, **settings: Any
) -> AsyncIterator[tuple[ObjectStore, ScriptedS3]]:
    """Yields a store that gets the scripted answers, and checks that it asked for all of them."""
    async with scripted_s3(*script) as server:
        # What is meant to stall is given up quickly; a busy machine is no stall.
        if any(getattr(step, "ending", None) is Ending.STALL for step in script):
            settings = {"stall_timeout_seconds": 0.2, **settings}
        store = open_store(server.endpoint_url, **settings)
        yield store, server
        assert server.script == []
        await store.close()


def repeating(store: ObjectStore) -> RetryingStore:
    """Returns the store with the layer that repeats, without its waits."""

    async def sleep(_: float) -> None:
        """Waits for nothing."""

    return RetryingStore(store, sleep=sleep)


async def collect(store: ObjectStore, got: list[bytes] | None = None, **arguments: Any) -> bytes:
    """Returns what a reader yields; `got` has what came before it failed."""
    got = [] if got is None else got
    async for chunk in await store.read("k", **arguments):
        got.append(bytes(chunk))
    return b"".join(got)


async def listed(store: ObjectStore, **arguments: Any) -> list[str]:
    """Returns the keys and prefixes of a listing."""
    pages = [page async for page in store.list("", **arguments)]
    return [name for page in pages for name in (*(o.key for o in page.objects), *page.prefixes)]


def page_of(*keys: str, prefixes: tuple[str, ...] = (), token: str | None = None) -> Answer:
    """Returns the answer with a page of a listing, continued with `token`."""
    contents = "".join(
        f"<Contents><Key>{key}</Key><Size>1</Size><ETag>&quot;e&quot;</ETag>"
        "<LastModified>2015-10-21T07:28:00.000Z</LastModified></Contents>"
        for key in keys
    )
    common = "".join(
        f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>" for name in prefixes
    )
    more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    truncated = "true" if token is not None else "false"
    return xml(
        "ListBucketResult", f"<IsTruncated>{truncated}</IsTruncated>{more}{contents}{common}"
    )


def xml(name: str, content: str, status: int = 200) -> Answer:
    """Returns an answer with an XML body."""
    body = f'<?xml version="1.0" encoding="UTF-8"?><{name}>{content}</{name}>'.encode()
    return Answer(
        status, {"Content-Length": str(len(body)), "Content-Type": "application/xml"}, body
    )


SILENCE = Answer(ending=Ending.STALL)
WRITTEN = Answer(200, {"Content-Length": "0", "ETag": '"e2"'})
COMPLETED = xml("CompleteMultipartUploadResult", "<ETag>&quot;e2&quot;</ETag>")

CALLS: dict[str, Callable[[ObjectStore], Awaitable[object]]] = {
    "get": lambda store: store.get("k", 1 << 20),
    "read": lambda store: store.read("k", start=1, length=2),
    "put": lambda store: store.put("k", b"x"),
    "create": lambda store: store.create("k", b"x"),
    "swap": lambda store: store.swap("k", b"x", '"e1"'),
    "delete": lambda store: store.delete("k"),
    "list": listed,
    "start_upload": lambda store: store.start_upload("k"),
    "upload_part": lambda store: store.upload_part(UPLOAD, 1, 0, [b"x"]),
    "create_from_upload": lambda store: store.create_from_upload(UPLOAD, ['"p1"']),
    "put_from_upload": lambda store: store.put_from_upload(UPLOAD, ['"p1"']),
    "abort_upload": lambda store: store.abort_upload(UPLOAD),
}
CONDITIONAL = ["create", "swap", "create_from_upload"]


# One answer


async def test_get_asks_once_and_believes_that_one_answer() -> None:
    """Facts and bytes are of one write, as they are of one answer."""
    async with answered_by(found(DATA)) as (store, server):
        info, data = await store.get("k", len(DATA))
        assert (info, data) == (ObjectInfo("k", len(DATA), '"e1"'), DATA)
        assert [(asked.method, asked.path) for asked in server.requests] == [
            ("GET", "/bucket/pre/k")
        ]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, ""), (429, "")])
async def test_a_store_that_cannot_now_is_asked_once(call: str, status: int, code: str) -> None:
    """Neither SDK repeats by itself: the layer above counts, waits and tells."""
    async with answered_by(refused(status, code)) as (store, server):
        with pytest.raises(StoreUnavailableError) as caught:
            await CALLS[call](store)
        assert len(server.requests) == 1
        assert caught.value.metadata["cause"] == f"HTTP {status} {code}".strip()


@pytest.mark.parametrize("call", CALLS)
async def test_a_store_that_can_again_is_asked_again(call: str) -> None:
    """503, a connection that is reset, one that is closed: then the answer."""
    head = Answer(200, found(DATA, etag='"e2"').headers)
    good: dict[str, list[Answer]] = {
        "get": [found(DATA)],
        "read": [found_range(b"xy", 1, 5)],
        "list": [page_of()],
        "start_upload": [xml("InitiateMultipartUploadResult", "<UploadId>u1</UploadId>")],
        "delete": [Answer(204)],
        "abort_upload": [Answer(204)],
        "create_from_upload": [COMPLETED, head],
        "put_from_upload": [COMPLETED, head],
    }
    failing = [
        refused(503, "SlowDown"),
        Answer(ending=Ending.RESET),
        replace(refused(500), ending=Ending.CLOSE),
    ]
    async with answered_by(*failing, *good.get(call, [WRITTEN])) as (store, _):
        await CALLS[call](repeating(store))


# Statuses and codes

MEANINGS = [
    (401, "", StoreAccessDeniedError),
    (403, "AccessDenied", StoreAccessDeniedError),
    (403, "SignatureDoesNotMatch", StoreAccessDeniedError),
    (403, "RequestTimeTooSkewed", StoreAccessDeniedError),
    (403, "", StoreAccessDeniedError),
    (400, "ExpiredToken", StoreAccessDeniedError),
    (400, "InvalidToken", StoreAccessDeniedError),
    (404, "XAdminUserNotFound", StoreAccessDeniedError),
    (501, "NotImplemented", UnsafeStoreError),
    (507, "", DiskFullError),
    (507, "XMinioStorageFull", DiskFullError),
    (403, "QuotaExceeded", DiskFullError),
    (404, "NoSuchBucket", StoreUnavailableError),
    (404, "", StoreUnavailableError),
    (404, "NotFound", StoreUnavailableError),
    (400, "AuthorizationHeaderMalformed", StoreUnavailableError),
    (409, "ConditionalRequestConflict", StoreUnavailableError),
    (409, "OperationAborted", StoreUnavailableError),
    (599, "", StoreUnavailableError),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("status", "code", "error"), MEANINGS)
async def test_what_a_refusal_means(
    call: str, status: int, code: str, error: type[Exception]
) -> None:
    """From every method; and the message holds the status, and nothing that a library wrote."""
    # Such a store is asked again, for an upload without checksums.
    tries = 2 if (call, code) == ("start_upload", "NotImplemented") else 1
    async with answered_by(*[refused(status, code)] * tries) as (store, server):
        with pytest.raises(error) as caught:
            await CALLS[call](store)
        message = str(caught.value)
        assert f"{LOOPBACK}:{server.port}" in message
        assert f"HTTP {status} {code}".strip() in message or code == "NoSuchBucket"
        assert not re.search("botocore|obstore|reqwest|Debug|operation:", message)
        assert "secret" not in message


@pytest.mark.parametrize("call", ["get", "read"])
async def test_only_no_such_key_is_an_absence(call: str) -> None:
    """Only the store's own word that a key is not there means absent.

    What says 404 and no more may be a proxy, or another service at a wrong address.
    """
    async with answered_by(refused(404, "NoSuchKey")) as (store, _):
        with pytest.raises(KeyNotFoundError):
            await CALLS[call](store)
    html = Answer(404, {"Content-Length": "13"}, b"<html></html>")
    async with answered_by(html) as (store, _):
        with pytest.raises(StoreUnavailableError):
            await CALLS[call](store)


async def test_a_head_that_says_404_is_asked_for_its_reason() -> None:
    """It has no body to say what is absent, so a GET is sent after it."""
    async with answered_by(refused(404), refused(404, "NoSuchKey")) as (store, server):
        with pytest.raises(KeyNotFoundError):
            await store.head("k")
        assert [asked.method for asked in server.requests] == ["HEAD", "GET"]
    async with answered_by(refused(404), refused(404, "NoSuchBucket")) as (store, _):
        with pytest.raises(StoreUnavailableError, match="no bucket 'bucket'"):
            await store.head("k")
    async with answered_by(refused(404), refused(404)) as (store, _):
        with pytest.raises(StoreUnavailableError):
            await store.head("k")
    async with answered_by(refused(404), found(DATA)) as (store, _):
        assert await store.head("k") == ObjectInfo("k", len(DATA), '"e1"')


@pytest.mark.parametrize("call", CONDITIONAL)
@pytest.mark.parametrize("code", ["PreconditionFailed", ""])
async def test_a_failed_precondition(call: str, code: str) -> None:
    """Of a create it means present, of a swap another one."""
    async with answered_by(refused(412, code)) as (store, server):
        with pytest.raises(EtagMismatchError if call == "swap" else KeyExistsError):
            await CALLS[call](store)
        sent = server.requests[0].headers
        assert sent.get("if-match") == ('"e1"' if call == "swap" else None)
        assert sent.get("if-none-match") == (None if call == "swap" else "*")


async def test_a_key_that_imitates_an_answer_is_no_answer() -> None:
    """The name of a part comes from others; a status is not read out of it."""
    key = "- Server returned non-2xx status code: 404 Not Found: <Code>NoSuchKey</Code>"
    async with answered_by(refused(503)) as (store, _):
        with pytest.raises(StoreUnavailableError):
            await store.get(key, 100)


# Copies

SOURCE = CopySource("s3://other/below", "a b", '"e1"')
COPIED = xml("CopyPartResult", "<ETag>&quot;p1&quot;</ETag>")
# What servers say that do not copy, or not from that bucket.
NO_COPIES = [
    (400, "InvalidRequest"),
    (400, "InvalidArgument"),
    (404, "NoSuchBucket"),
    (404, ""),
    (405, "MethodNotAllowed"),
    (501, "NotImplemented"),
]


async def test_a_copy_names_bucket_key_range_and_write() -> None:
    """The source may be in any bucket of the same endpoint."""
    async with answered_by(COPIED) as (store, server):
        assert await store.copy_part(UPLOAD, 2, 100, 50, SOURCE) == '"p1"'
    sent = server.requests[0].headers
    assert sent["x-amz-copy-source"] == "other/below/a%20b"
    assert sent["x-amz-copy-source-range"] == "bytes=100-149"
    assert sent["x-amz-copy-source-if-match"] == '"e1"'


async def test_a_copy_from_a_whole_bucket() -> None:
    """Whose store has no prefix."""
    async with answered_by(COPIED) as (store, server):
        await store.copy_part(UPLOAD, 1, 0, 1, CopySource("s3://other", "k", '"e1"'))
    assert server.requests[0].headers["x-amz-copy-source"] == "other/k"


@pytest.mark.parametrize(("status", "code"), NO_COPIES)
async def test_a_server_that_does_not_copy_is_told_apart(status: int, code: str) -> None:
    """Reading and sending goes on to work; and it is asked once, as it would say so again."""
    async with answered_by(refused(status, code)) as (store, _):
        with pytest.raises(CannotCopyError) as caught:
            await repeating(store).copy_part(UPLOAD, 1, 0, 1, SOURCE)
        assert caught.value.key == "a b"


async def test_a_copy_that_failed_for_now_is_repeated() -> None:
    """Also where the failure comes in the body, under a status that promised success."""
    failures = [
        refused(503, "SlowDown"),
        refused(409, "OperationAborted"),
        xml("Error", "<Code>InternalError</Code>"),
        Answer(ending=Ending.RESET),
    ]
    async with answered_by(*failures, COPIED) as (store, _):
        assert await repeating(store).copy_part(UPLOAD, 1, 0, 1, SOURCE) == '"p1"'


@pytest.mark.parametrize(
    ("status", "code", "error", "key"),
    [
        (412, "PreconditionFailed", EtagMismatchError, "a b"),
        (404, "NoSuchKey", KeyNotFoundError, "a b"),
        (404, "NoSuchUpload", UploadNotFoundError, "k"),
    ],
)
async def test_a_copy_tells_source_and_upload_apart(
    status: int, code: str, error: type[Exception], key: str
) -> None:
    """The signal names the key that it is about."""
    async with answered_by(refused(status, code)) as (store, _):
        with pytest.raises(error) as caught:
            await store.copy_part(UPLOAD, 1, 0, 1, SOURCE)
        assert getattr(caught.value, "key", None) == key


async def test_a_copy_that_is_not_allowed_is_an_operators_fault_to_mend() -> None:
    """The bytes would be refused as well."""
    async with answered_by(refused(403, "AccessDenied")) as (store, _):
        with pytest.raises(StoreAccessDeniedError, match="a b"):
            await store.copy_part(UPLOAD, 1, 0, 1, SOURCE)


# Bodies


def the_rest(request: Request) -> Answer:
    """Answers a range, which has to be pinned to the first answer's ETag, up to the end."""
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers["range"])
    assert wanted is not None
    assert request.headers["if-match"] == '"e1"'
    start, end = int(wanted[1]), int(wanted[2] or len(DATA) - 1)
    return found_range(DATA[start : end + 1], start, len(DATA))


@pytest.mark.parametrize("ending", [Ending.CLOSE, Ending.RESET])
async def test_a_body_that_breaks_off_is_a_failure(ending: Ending) -> None:
    """However much of it has come."""
    got: list[bytes] = []
    broken = replace(found(DATA), body=DATA[:500], ending=ending)
    async with answered_by(broken) as (store, _):
        with pytest.raises(StoreUnavailableError) as caught:
            await collect(store, got)
        assert caught.value.metadata["cause"] == "connection lost"
        assert DATA.startswith(b"".join(got))


@pytest.mark.parametrize("ending", [Ending.CLOSE, Ending.RESET])
async def test_the_rest_of_a_broken_body_is_asked_for(ending: Ending) -> None:
    """From the byte that was reached, of the same write, as often as it breaks."""
    whole = replace(found(DATA), body=DATA[:500], ending=ending)
    ranged = replace(found_range(DATA[2:1002], 2, len(DATA)), body=DATA[2:99], ending=ending)
    async with answered_by(whole, refused(503), the_rest) as (store, _):
        assert await collect(repeating(store)) == DATA
    async with answered_by(ranged, the_rest) as (store, _):
        assert await collect(repeating(store), start=2, length=1000) == DATA[2:1002]


async def test_an_object_that_was_replaced_is_not_mixed() -> None:
    """The store's 412 to the rest says that there is no rest."""
    broken = replace(found(DATA), body=DATA[:500], ending=Ending.CLOSE)
    async with answered_by(broken, refused(412, "PreconditionFailed")) as (store, _):
        with pytest.raises(EtagMismatchError):
            await collect(repeating(store))


WRONG_RANGES = {
    "the range is ignored": found(DATA),
    "another range": found_range(DATA[5:15], 5, len(DATA)),
    "a shorter range": found_range(DATA[10:15], 10, len(DATA)),
    "a longer range": found_range(DATA[10:30], 10, len(DATA)),
    "fewer bytes than the range": replace(
        found_range(DATA[10:20], 10, len(DATA)),
        headers=found_range(DATA[10:20], 10, len(DATA)).headers | {"Content-Length": "7"},
        body=DATA[10:17],
    ),
    "more bytes than the range": replace(
        found_range(DATA[10:20], 10, len(DATA)),
        headers=found_range(DATA[10:20], 10, len(DATA)).headers | {"Content-Length": "900"},
        body=DATA[10:910],
    ),
    "no Content-Range": replace(found(DATA[10:20]), status=206),
    "no ETag": replace(
        found_range(DATA[10:20], 10, len(DATA)),
        headers={"Content-Length": "10", "Content-Range": f"bytes 10-19/{len(DATA)}"},
    ),
}


@pytest.mark.parametrize("answer", WRONG_RANGES.values(), ids=WRONG_RANGES)
async def test_a_wrong_range_is_never_taken_for_the_right_one(answer: Answer) -> None:
    """It fails, and no byte comes that was not asked for."""
    got: list[bytes] = []
    async with answered_by(answer) as (store, _):
        with pytest.raises(StoreUnavailableError):
            await collect(store, got, start=10, length=10)
    assert DATA[10:20].startswith(b"".join(got))


async def test_a_wrong_rest_is_never_taken_for_the_right_one() -> None:
    """Also where the end was left open."""
    async with answered_by(found_range(DATA[5:], 5, len(DATA))) as (store, _):
        with pytest.raises(StoreUnavailableError):
            await store.read("k", start=10)


@pytest.mark.parametrize("size_bytes", [0, 10])
async def test_a_range_that_is_not_there_is_empty(size_bytes: int) -> None:
    """S3 says 416 to any range of an empty object, and to one behind the end."""
    head = Answer(200, found(bytes(size_bytes)).headers)
    async with answered_by(refused(416, "InvalidRange"), head) as (store, _):
        reader = await store.read("k", start=size_bytes, length=5)
        assert [chunk async for chunk in reader] == []
        assert reader.info.size_bytes == size_bytes


async def test_a_range_that_is_there_is_not_taken_for_empty() -> None:
    """A 416 that the object's own length belies is a failure."""
    head = Answer(200, found(bytes(10)).headers)
    async with answered_by(refused(416, "InvalidRange"), head) as (store, _):
        with pytest.raises(StoreUnavailableError):
            await store.read("k", start=5, length=5)


@pytest.mark.parametrize("arguments", [{}, {"start": 1, "length": 2}])
async def test_another_etag_than_asked_for_is_a_mismatch(arguments: dict[str, int]) -> None:
    """A server that overlooks If-Match is caught by the answer's ETag."""
    answer = found_range(b"xy", 1, 5, etag='"e2"') if arguments else found(DATA, etag='"e2"')
    async with answered_by(answer) as (store, _):
        with pytest.raises(EtagMismatchError):
            await store.read("k", etag='"e1"', **arguments)


async def test_a_body_of_unknown_length_is_refused() -> None:
    """Its end could not be told from a break."""
    endless = Answer(200, {"ETag": '"e1"'}, DATA, Ending.CLOSE)
    chunked = Answer(
        200, {"ETag": '"e1"', "Transfer-Encoding": "chunked"}, b"4\r\n1234\r\n0\r\n\r\n"
    )
    for answer in (endless, chunked):
        async with answered_by(answer) as (store, _):
            with pytest.raises(StoreUnavailableError) as caught:
                await store.read("k")
            assert caught.value.metadata["cause"] == "not S3"


async def test_a_body_is_taken_as_it_stands() -> None:
    """Not decompressed: a few bytes could otherwise become any number."""
    packed = found(b"\x1f\x8b not really", **{"Content-Encoding": "gzip"})
    async with answered_by(packed) as (store, _):
        assert await collect(store) == b"\x1f\x8b not really"


# No answer


@pytest.mark.parametrize("call", CALLS)
async def test_a_store_that_says_nothing_is_given_up(call: str) -> None:
    """After the stall timeout."""
    async with answered_by(SILENCE) as (store, _):
        with pytest.raises(StoreUnavailableError) as caught:
            await CALLS[call](store)
        assert caught.value.metadata["cause"] == "timeout"


async def test_a_body_that_stalls_is_given_up() -> None:
    """And with the layer above the rest comes over another connection."""
    stalled = replace(found(DATA), body=DATA[:500], ending=Ending.STALL)
    async with answered_by(stalled) as (store, _):
        with pytest.raises(StoreUnavailableError):
            await collect(store)
    async with answered_by(stalled, the_rest) as (store, _):
        assert await collect(repeating(store)) == DATA


async def test_a_redirect_to_another_host_is_not_followed() -> None:
    """Neither credentials nor questions go where the operator has not sent them."""
    async with scripted_s3(*[found(b"evil")] * len(CALLS)) as other:
        elsewhere = {"Location": f"http://localhost:{other.port}/bucket/pre/k"}
        for call, run in CALLS.items():
            async with scripted_s3(*[refused(307, **elsewhere)] * 4) as server:
                store = open_store(server.endpoint_url)
                with pytest.raises(StoreUnavailableError):
                    await run(store)
                await store.close()
            assert other.requests == [], call


async def test_a_redirect_that_leads_round_in_a_circle_is_a_failure() -> None:
    """Botocore asks where the bucket is, and is redirected there too."""
    async with scripted_s3(*[refused(301)] * 1000) as server:
        store = open_store(server.endpoint_url)
        with pytest.raises(StoreUnavailableError, match="redirected: is the region right"):
            await store.upload_part(UPLOAD, 1, 0, [DATA])
        await store.close()


# Listings


async def test_a_listing_goes_on_page_by_page() -> None:
    """With the token of each page; what is left out is told to the store."""
    pages = [page_of("pre/a", "pre/b", token="t1"), page_of("pre/c", token="t2"), page_of()]
    async with answered_by(*pages) as (store, server):
        assert await listed(store, after="0") == ["a", "b", "c"]
        assert "start-after=pre%2F0" in server.requests[0].path
        assert "continuation-token=t1" in server.requests[1].path
        assert "continuation-token=t2" in server.requests[2].path


async def test_what_is_no_key_is_a_stray() -> None:
    """Folder markers of consoles, and names that would lead elsewhere."""
    strays = ("a/", "a//b", "../c", "./d", "/")
    page = page_of(
        *(f"pre/{name}" for name in strays), "pre/e", prefixes=("pre//", "pre/f/", "pre/../")
    )
    async with answered_by(page, page) as (store, _):
        assert await listed(store, delimiter=True) == ["e", "f/"]
        told = [found async for listing in store.list("") for found in listing.strays]
        assert [found.key for found in told] == list(strays)


@pytest.mark.parametrize(
    "answer",
    [
        page_of("pre/a", token=""),
        Answer(200, {"Content-Length": "6"}, b"<html>"),
        Answer(200, {"Content-Length": "13"}, b"<html></html>"),
        Answer(200, {"Content-Length": "0"}, b""),
        xml("Error", "<Code>InternalError</Code>"),
    ],
    ids=["no token", "no XML", "other XML", "nothing", "an error with status 200"],
)
async def test_a_listing_that_cannot_be_believed_is_a_failure(answer: Answer) -> None:
    """Rather than a listing that ends too early."""
    async with answered_by(answer) as (store, _):
        with pytest.raises(StoreUnavailableError):
            await listed(store)


# Uploads


async def test_an_error_with_status_200_is_none_of_success() -> None:
    """S3 sends the status before it knows how completing an upload ends."""
    failed = xml("Error", "<Code>InternalError</Code><Message>no</Message>")
    for call in ("create_from_upload", "put_from_upload"):
        async with answered_by(failed) as (store, _):
            with pytest.raises(StoreUnavailableError):
                await CALLS[call](store)


async def test_a_success_that_the_key_belies_is_none() -> None:
    """Some servers say yes where the upload is gone, and the key is somebody else's or absent."""
    theirs = Answer(200, found(DATA, etag='"theirs"').headers)
    async with answered_by(COMPLETED, theirs) as (store, _):
        with pytest.raises(UploadNotFoundError):
            await store.create_from_upload(UPLOAD, ['"p1"'])
    async with answered_by(COMPLETED, refused(404), refused(404, "NoSuchKey")) as (store, _):
        with pytest.raises(UploadNotFoundError):
            await store.create_from_upload(UPLOAD, ['"p1"'])


CREATED = xml("InitiateMultipartUploadResult", "<UploadId>u1</UploadId>")


@pytest.mark.parametrize("refusal", [(400, "InvalidRequest"), (501, "NotImplemented"), (501, "")])
async def test_a_store_that_knows_no_checksums(refusal: tuple[int, str]) -> None:
    """An upload is begun without, and no piece of any has one from then on; the log says so."""
    async with answered_by(refused(*refusal), CREATED, WRITTEN, CREATED) as (store, server):
        with capture_logs() as logged:
            upload = await store.start_upload("k")
            assert await store.upload_part(upload, 1, 0, [DATA]) == '"e2"'
            await store.start_upload("k")
        assert [line["log_level"] for line in logged] == ["warning"]
        assert "keeps no CRC-64/NVME" in logged[0]["event"]
        asked = [any("checksum" in name for name in sent.headers) for sent in server.requests]
        assert asked == [True, False, False, False]


async def test_an_upload_for_copies_asks_for_no_checksum() -> None:
    """Some stores take that of the whole source for that of a range; parts are sent without too."""
    begun = xml("InitiateMultipartUploadResult", "<UploadId>u1</UploadId>")
    copied = xml(
        "CopyPartResult", "<ETag>&quot;p1&quot;</ETag><ChecksumCRC64NVME>AAA=</ChecksumCRC64NVME>"
    )
    sent = replace(WRITTEN, headers=WRITTEN.headers | {"x-amz-checksum-crc64nvme": "AAA="})
    async with answered_by(begun, copied, sent, COMPLETED, found(DATA, etag='"e2"')) as answered:
        store, server = answered
        upload = await store.start_upload("k", for_copies=True)
        receipts = [
            await store.copy_part(upload, 1, 0, 1, SOURCE),
            await store.upload_part(upload, 2, 1, [b"x"]),
        ]
        await store.create_from_upload(upload, receipts)
        assert receipts == ['"p1"', '"e2"']
        assert not [
            name for asked in server.requests[:4] for name in asked.headers if "check" in name
        ]
        assert b"Checksum" not in server.requests[3].body


async def test_the_checksum_that_a_store_keeps() -> None:
    """The one of the whole object counts; that of a list of pieces is another thing."""
    whole = {
        "x-amz-checksum-crc64nvme": checksum_text([DATA]),
        "x-amz-checksum-type": "FULL_OBJECT",
    }
    pieces = whole | {"x-amz-checksum-type": "COMPOSITE"}
    for headers, expected in ((whole, checksums.crc64nvme(DATA)), (pieces, None), ({}, None)):
        answer = found(DATA)
        answer = replace(answer, headers=answer.headers | headers, body=b"")
        async with answered_by(answer) as (store, server):
            info, checksum = await store.checksum("k")
            assert (info.size_bytes, checksum) == (len(DATA), expected)
            assert server.requests[0].headers["x-amz-checksum-mode"] == "ENABLED"


async def test_an_etag_that_is_an_md5() -> None:
    """It is told as one; any other is not."""
    for etag, expected in (("0" * 32, "0" * 32), ("0" * 32 + "-2", None), ("e1", None)):
        async with answered_by(found(DATA, etag=f'"{etag}"')) as (store, _):
            assert (await store.head("k")).md5_hex == expected


@pytest.mark.parametrize(
    ("answer", "refuses"),
    [
        (refused(400, "XAmzContentSHA256Mismatch"), True),
        (WRITTEN, False),
        (refused(400, "InvalidRequest"), False),
        (refused(403, "AccessDenied"), False),
        (refused(503, "SlowDown"), False),
        (Answer(ending=Ending.RESET), False),
    ],
)
async def test_a_store_that_refuses_damage(answer: Scripted, refuses: bool) -> None:
    """Only its word that the bytes are not those of the signed hash counts, and it counts once.

    What is written afterwards arrives as it was sent.
    """
    async with answered_by(WRITTEN, answer, WRITTEN) as (store, server):
        assert not (await store.create("k", DATA)).is_compared
        assert await store.refuses_damage("damaged") is refuses
        assert (await store.create("k", DATA)).is_compared is refuses
        before, damaged, after = server.requests
        for sent, is_whole in ((before, True), (damaged, False), (after, True)):
            signed = sent.headers["x-amz-content-sha256"]
            assert (signed == hashlib.sha256(sent.body).hexdigest()) is is_whole
        assert int(damaged.headers["content-length"]) == len(damaged.body)


async def test_a_part_is_sent_as_it_is() -> None:
    """Any buffer, under its number, with its checksum in a header."""
    async with answered_by(WRITTEN) as (store, server):
        part = memoryview(bytearray(DATA))
        assert await store.upload_part(UPLOAD, 7, 6 * len(DATA), [part]) == '"e2"'
        sent = server.requests[0]
        assert (sent.method, sent.body) == ("PUT", DATA)
        assert sent.path == "/bucket/pre/k?uploadId=u1&partNumber=7"
        assert sent.headers["x-amz-checksum-crc64nvme"] == checksum_text([DATA])
        assert sent.headers["x-amz-content-sha256"] == hashlib.sha256(DATA).hexdigest()
        assert "x-amz-trailer" not in sent.headers


async def test_a_part_is_read_in_large_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """To sign it and to send it: each block waits for its turn at the interpreter."""
    blocks = []

    class WatchedFile(BodyFile):
        def _next(self, size: int) -> memoryview:
            block = super()._next(size)
            blocks.append(block.nbytes)
            return block

    monkeypatch.setattr(uploads, "BodyFile", WatchedFile)
    piece = bytes(2**20)
    async with answered_by(WRITTEN) as (store, server):
        await store.upload_part(UPLOAD, 1, 0, [piece])
        assert server.requests[0].body == piece
    assert sum(blocks) == 2 * len(piece)
    assert len(blocks) < 20


def test_a_part_is_read_like_a_file() -> None:
    """As botocore and what lies below it may do: in blocks, twice, from anywhere."""
    file = BodyFile([bytearray(DATA)])
    assert file.read(10) == DATA[:10]
    assert file.tell() == 10
    assert file.seek(0, io.SEEK_END) == len(DATA)
    assert file.seek(-5, io.SEEK_CUR) == len(DATA) - 5
    assert file.read() == DATA[-5:]
    assert file.read(1) == b""
    file.seek(0)
    assert io.BufferedReader(file).read() == DATA
    assert file.seekable()


def test_a_part_of_many_buffers_is_one_file() -> None:
    """No read gives bytes of two of them, which would copy them; none ends before the last does."""
    file = BodyFile([bytearray(DATA[:7]), b"", memoryview(DATA)[7:9], DATA[9:]])
    assert [file.read(5), file.read(5), file.read(5)] == [DATA[:5], DATA[5:7], DATA[7:9]]
    assert file.seek(8) == 8
    assert file.read() == DATA[8:]
    assert file.read(5) == b""
    file.seek(0)
    assert io.BufferedReader(file).read() == DATA
    assert BodyFile([]).read() == b""


def test_the_checksum_of_many_buffers_is_that_of_their_bytes() -> None:
    """However they are cut."""
    assert checksum_text([DATA[:7], b"", memoryview(DATA)[7:]]) == checksum_text([DATA])


def uploads_of(*uploads: tuple[str, str], is_truncated: bool) -> Answer:
    """Returns a page of uploads, each a key and an id."""
    entries = "".join(
        f"<Upload><Key>pre/{key}</Key><UploadId>{upload_id}</UploadId>"
        "<Initiated>2026-11-25T00:00:00.000Z</Initiated></Upload>"
        for key, upload_id in uploads
    )
    truncated = f"<IsTruncated>{str(is_truncated).lower()}</IsTruncated>"
    return xml("ListMultipartUploadsResult", entries + truncated)


async def test_a_page_of_uploads_ends_with_a_whole_key() -> None:
    """What may go on with the next page comes with it; only a key that fills a page is cut."""
    pages = [
        uploads_of(("a", "1"), ("b", "1"), is_truncated=True),
        uploads_of(("b", "1"), ("b", "2"), is_truncated=True),
        uploads_of(("b", "3"), is_truncated=False),
    ]
    async with answered_by(*pages) as (store, server):
        told = [found.upload async for found in store.uploads("")]
        assert told == [Upload("a", "1"), *(Upload("b", number) for number in "123")]
        queries = [parse_qs(urlsplit(asked.path).query) for asked in server.requests]
        assert [query.get("key-marker") for query in queries] == [None, ["pre/a"], ["pre/b"]]
        assert [query.get("upload-id-marker") for query in queries] == [None, None, ["2"]]


async def test_a_page_of_uploads_that_leads_nowhere_is_a_failure() -> None:
    """It would be asked for for ever."""
    async with answered_by(uploads_of(is_truncated=True)) as (store, _):
        with pytest.raises(StoreUnavailableError, match="not S3"):
            await anext(aiter(store.uploads("")))


async def test_what_is_written_is_encrypted_with_the_operators_key() -> None:
    """Small objects and uploads alike."""
    begun = xml("InitiateMultipartUploadResult", "<UploadId>u1</UploadId>")
    async with answered_by(WRITTEN, WRITTEN, WRITTEN, begun, kms_key_id="arn:key") as (
        store,
        server,
    ):
        for call in ("put", "create", "swap", "start_upload"):
            await CALLS[call](store)
        for sent in server.requests:
            assert sent.headers["x-amz-server-side-encryption"] == "aws:kms"
            assert sent.headers["x-amz-server-side-encryption-aws-kms-key-id"] == "arn:key"


async def test_every_request_is_signed() -> None:
    """With the session's credentials, token included, by both SDKs."""
    async with answered_by(found(DATA), page_of()) as (store, server):
        await store.get("k", len(DATA))
        await listed(store)
        for sent in server.requests:
            assert "Credential=key-id/" in sent.headers["authorization"]
            assert sent.headers["x-amz-security-token"] == "session-token"
