"""Bad input of every kind: its documented reason, a message that helps, and nothing left behind.

Requests go over the wire as they are, past the checks of any helper. What the disk and the store do
stands in `test_disk` and `test_store_down`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from assetd.v1.asset_pb2 import AssetKind
from assetd.v1.asset_service_pb2 import (
    FetchRequest,
    ListFilesRequest,
    ListRequest,
    PushChunk,
    PushCommit,
    PushFile,
    PushFiles,
    PushHeader,
    PushRequest,
    ResolveVersionRequest,
)
from assetd.v1.asset_service_pb2_grpc import AssetServiceStub
from assetd.v1.cache_service_pb2 import CacheSelector, EvictRequest, PinRequest, UnpinRequest
from assetd.v1.cache_service_pb2 import VerifyRequest
from assetd.v1.cache_service_pb2_grpc import CacheServiceStub
from google.protobuf.duration_pb2 import Duration

from tests.support.daemon import Daemon, running_daemons
from tests.support.trees import read_tree, write_tree
from tests.support.wire import Failure, failure_of

pytestmark = pytest.mark.xdist_group("bad_input")

DIGEST = "sha256:" + 64 * "0"
TREE = {"config.json": b"{}", "sub/vocab.txt": b"a b c"}


@dataclass(frozen=True)
class Bad:
    """A request that has to be refused, with the words that its caller needs."""

    request: Any
    reason: str
    words: tuple[str, ...]
    code: str = "INVALID_ARGUMENT"
    name: str = field(default="")

    def __str__(self) -> str:
        return self.name or f"{self.reason}-{self.words[0][:24]}"


def bad(request: Any, reason: str, *words: str, code: str = "INVALID_ARGUMENT") -> Bad:
    """Return one row."""
    return Bad(request, reason, words, code)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with good/file and good/folder, both 0.0, in the store and in the cache."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "file").write_bytes(b"content")
    write_tree(folder / "folder", TREE)
    with running_daemons(folder) as daemons:
        daemon = daemons(store=folder / "store")
        with daemon.client() as client:
            for name in ("file", "folder"):
                client.push(folder / name, f"good/{name}")
                client.fetch(f"good/{name}")
        yield daemon


@pytest.fixture(autouse=True)
def nothing_left_behind(daemon: Daemon) -> Iterator[None]:
    """Whatever a test asks for: afterwards store and cache are as they were, and so is the rest."""
    places = (daemon.assets_dir, daemon.assets_dir.with_name("store"))
    before = [read_tree(place) for place in places]
    yield
    after = [without_claims(read_tree(place)) for place in places]
    assert after == [without_claims(tree) for tree in before]
    assert daemon.leftovers() == []
    with daemon.client() as client:
        status = client.status()
    assert (list(status.flights), list(status.holds), status.reserved_bytes) == ([], [], 0)


def without_claims(tree: dict[str, bytes]) -> dict[str, bytes]:
    """Leave out the records of pushes that gave up, which the protocol keeps on purpose."""
    return {path: data for path, data in tree.items() if not path.startswith(".assetd/claims/")}


def check(failure: Failure, row: Bad) -> None:
    """Compare with what is documented; every value that is told stands in the metadata too."""
    assert (failure.code, failure.reason) == (row.code, row.reason)
    missing = [word for word in row.words if word not in failure.message]
    assert not missing, failure.message
    assert failure.metadata


SPECS = [
    bad("", "INVALID_SPEC", "the spec is empty"),
    bad("good/file:", "INVALID_SPEC", "'good/file:'", "leave ':' out"),
    bad("good/folder[sub", "INVALID_SPEC", "'good/folder[sub'", "write name:version[sub/part]"),
    bad("good/folder]", "INVALID_SPEC", "']' without '['"),
    bad("a" * 5000, "INVALID_SPEC", "at most 4096 characters"),
    bad("../etc/passwd", "INVALID_NAME", "'../etc/passwd'", "begin and end with a letter"),
    bad("/etc/passwd", "INVALID_NAME", "'/etc/passwd'"),
    bad("a/../../b", "INVALID_NAME", "'a/../../b'", "'..'"),
    bad("a//b", "INVALID_NAME", "'a//b'", "'//'"),
    bad("a\\b", "INVALID_NAME", "use letters"),
    bad("a\x00b", "INVALID_NAME", "use letters"),
    bad("a\nb", "INVALID_NAME", "use letters"),
    bad("spaced name", "INVALID_NAME", "'spaced name'"),
    bad("n\u00e4me", "INVALID_NAME", "use letters"),
    bad("a" * 256, "INVALID_NAME", "at most 255 bytes"),
    bad("/".join(["a" * 200] * 6), "INVALID_NAME", "at most 1024 bytes"),
    bad("good/file:1.2.3", "INVALID_VERSION", "'1.2.3'", "major.minor as in 1.2"),
    bad("good/file:01", "INVALID_VERSION", "'01'", "no leading zeros"),
    bad("good/file:0.0\n", "INVALID_VERSION", "major.minor"),
    bad("good/file:..", "INVALID_VERSION", "'..'"),
    bad("good/file:\u0663", "INVALID_VERSION", "major.minor"),
    bad("good/file:1" + "0" * 20, "INVALID_VERSION", "major.minor"),
    bad("good/file:2026-13-01T00-00-00Z", "INVALID_VERSION", "a date as in"),
    bad("good/folder[../../etc]", "INVALID_PART", "'../../etc'", "below its version"),
    bad("good/folder[sub/../../x]", "INVALID_PART", "'sub/../../x'"),
    bad("good/folder[//etc]", "INVALID_PART", "below its version"),
    bad("good/folder[a\\b]", "INVALID_PART", "NUL and control characters"),
    bad("good/folder[a\x00b]", "INVALID_PART", "NUL and control characters"),
    bad("good/folder[.SUCCESS]", "INVALID_PART", ".SUCCESS marks a complete version"),
    bad("good/folder[]", "INVALID_PART", "below its version"),
    bad("good/folder[" + "a" * 256 + "]", "INVALID_PART", "at most 255 bytes"),
]


@pytest.mark.parametrize("row", SPECS, ids=str)
def test_a_bad_spec_is_refused_by_every_method(daemon: Daemon, row: Bad) -> None:
    """One grammar, whoever parses it: ResolveVersion, Fetch, ListFiles and Push."""
    spec = row.request
    with daemon.channel() as channel:
        stub = AssetServiceStub(channel)
        header = PushHeader(spec=spec, kind=AssetKind.ASSET_KIND_FILE)
        for call in (
            lambda: stub.ResolveVersion(ResolveVersionRequest(spec=spec)),
            lambda: stub.Fetch(FetchRequest(spec=spec)),
            lambda: stub.ListFiles(ListFilesRequest(spec=spec)),
            lambda: stub.Push(iter([PushRequest(header=header)])),
        ):
            check(failure_of(call), row)


NOT_FOUND = "NOT_FOUND"
FETCHES = [
    bad(FetchRequest(spec="good/none"), "ASSET_NOT_FOUND", "good/none", "spelling", code=NOT_FOUND),
    bad(
        FetchRequest(spec="good/file:7"),
        "VERSION_NOT_FOUND",
        *("good/file", "no version 7", "newest is 0.0"),
        code=NOT_FOUND,
    ),
    bad(
        FetchRequest(spec="good/file:0.7"),
        "VERSION_NOT_FOUND",
        *("good/file", "0.7"),
        code=NOT_FOUND,
    ),
    bad(
        FetchRequest(spec="good/folder[sub/none]"),
        "PART_NOT_FOUND",
        *("good/folder:0.0", "sub/none", "`ListFiles` tells"),
        code=NOT_FOUND,
    ),
    bad(
        FetchRequest(spec="good/file:0.0[sub]"),
        "PART_NOT_FOUND",
        *("good/file:0.0", "sub"),
        code=NOT_FOUND,
    ),
    bad(
        FetchRequest(spec="good/folder", expected_digest=DIGEST),
        "DIGEST_MISMATCH",
        *("good/folder:0.0", DIGEST, "not the content that was pinned"),
        code="DATA_LOSS",
    ),
    bad(
        FetchRequest(spec="good/folder", expected_digest="sha256:short"),
        "INVALID_FIELD",
        *("'sha256:short'", "64 lower-case hex digits"),
    ),
    bad(
        FetchRequest(spec="good/file", store_timeout=Duration()),
        "INVALID_FIELD",
        *("store_timeout", "it must be positive"),
    ),
    bad(
        FetchRequest(spec="good/file", progress_interval=Duration(seconds=-1)),
        "INVALID_FIELD",
        *("progress_interval", "must not be negative"),
    ),
    bad(
        FetchRequest(spec="good/file", freshness=99),  # type: ignore[arg-type]
        "INVALID_FIELD",
        *("freshness", "99", "the API names"),
    ),
    bad(
        FetchRequest(spec="good/file", caller="x" * 300),
        "INVALID_FIELD",
        *("caller", "at most 256"),
    ),
]


@pytest.mark.parametrize("row", FETCHES, ids=str)
def test_a_bad_fetch_is_refused(daemon: Daemon, row: Bad) -> None:
    """Also where the version is cached: a hit is checked against what was asked."""
    with daemon.channel() as channel:
        check(failure_of(lambda: AssetServiceStub(channel).Fetch(row.request)), row)


UNBUILT_FETCHES = {
    "include": FetchRequest(spec="good/folder", include=["*.json"]),
    "exclude": FetchRequest(spec="good/folder", exclude=["*.json"]),
    "part_only": FetchRequest(spec="good/folder[sub]", part_only=True),
}
UNBUILT_HEADERS = {
    "header.labels": PushHeader(spec="new/asset", labels={"stage": "test"}),
    "header.validate_only": PushHeader(spec="new/asset", validate_only=True),
    "header.staged_path": PushHeader(spec="new/asset", staged_path="x"),
    "header.source_uri": PushHeader(spec="new/asset", source_uri="s3://bucket/key"),
}
ALL = CacheSelector(all=True)
UNBUILT_METHODS: dict[str, Callable[[CacheServiceStub], Any]] = {
    "Evict": lambda cache: cache.Evict(EvictRequest(selector=ALL)),
    "Pin": lambda cache: cache.Pin(PinRequest(spec="good/file:0.0")),
    "Unpin": lambda cache: cache.Unpin(UnpinRequest(spec="good/file:0.0")),
    "Verify": lambda cache: cache.Verify(VerifyRequest(selector=ALL)),
}


@pytest.mark.parametrize("what", [*UNBUILT_FETCHES, *UNBUILT_HEADERS, *UNBUILT_METHODS])
def test_what_is_not_built_is_refused_by_name(daemon: Daemon, what: str) -> None:
    """Never ignored: a caller that relies on it would get something else than it asked for."""
    with daemon.channel() as channel:
        stub = AssetServiceStub(channel)

        def call() -> Any:
            if what in UNBUILT_FETCHES:
                return stub.Fetch(UNBUILT_FETCHES[what])
            if what in UNBUILT_HEADERS:
                header = UNBUILT_HEADERS[what]
                header.kind = AssetKind.ASSET_KIND_FILE
                return stub.Push(iter([PushRequest(header=header)]))
            return UNBUILT_METHODS[what](CacheServiceStub(channel))

        failure = failure_of(call)
    check(failure, bad(None, "NOT_BUILT", what, "later release", code="UNIMPLEMENTED"))
    assert failure.metadata["field"] == what


LISTINGS = [
    bad(ListRequest(page_token="x"), "INVALID_PAGE_TOKEN", "list again from the first page"),
    bad(ListRequest(page_token="\u00e4"), "INVALID_PAGE_TOKEN", "not made by this method"),
    bad(ListRequest(page_token="A" * 20_000), "INVALID_PAGE_TOKEN", "not made by this method"),
    bad(ListRequest(page_size=-1), "INVALID_FIELD", "page_size", "must not be negative"),
    bad(
        ListRequest(scope=99),  # type: ignore[arg-type]
        "INVALID_FIELD",
        *("scope", "99"),
    ),
    bad(ListFilesRequest(spec="good/folder", page_token="x"), "INVALID_PAGE_TOKEN", "first page"),
    bad(ListFilesRequest(spec="good/folder", page_size=-1), "INVALID_FIELD", "page_size"),
    bad(
        ListFilesRequest(spec="good/folder[none]"),
        "PART_NOT_FOUND",
        *("good/folder:0.0", "none"),
        code=NOT_FOUND,
    ),
]


@pytest.mark.parametrize("row", LISTINGS, ids=str)
def test_a_bad_listing_is_refused(daemon: Daemon, row: Bad) -> None:
    """Tokens that are none, sizes that are none."""
    with daemon.channel() as channel:
        check(failure_of(lambda: _list(AssetServiceStub(channel), row.request)), row)


def test_a_page_token_is_bound_to_its_arguments(daemon: Daemon) -> None:
    """A token of one listing is none for another, nor for the other method."""
    with daemon.channel() as channel:
        stub = AssetServiceStub(channel)
        token = stub.List(ListRequest(page_size=1)).next_page_token
        assert token
        for request in (
            ListRequest(page_token=token, name_prefix="good"),
            ListRequest(page_token=token, latest_only=True),
            ListFilesRequest(page_token=token, spec="good/folder"),
        ):
            row = bad(request, "INVALID_PAGE_TOKEN", "list again from the first page")
            check(failure_of(lambda request=request: _list(stub, request)), row)


def _list(stub: AssetServiceStub, request: Any) -> Any:
    return stub.List(request) if isinstance(request, ListRequest) else stub.ListFiles(request)


def header(spec: str = "new/asset", **fields: Any) -> PushRequest:
    """The first step of a push of a folder."""
    fields.setdefault("kind", AssetKind.ASSET_KIND_DIRECTORY)
    return PushRequest(header=PushHeader(spec=spec, **fields))


def files(*paths: str, size_bytes: int = 3, digest: str = "") -> PushRequest:
    """The announcement of files that are all alike."""
    announced = [PushFile(path=path, size_bytes=size_bytes, digest=digest) for path in paths]
    return PushRequest(files=PushFiles(files=announced))


def chunk(path: str, data: bytes = b"abc", offset: int = 0) -> PushRequest:
    """Some bytes."""
    return PushRequest(chunk=PushChunk(path=path, data=data, offset=offset))


def commit(digest: str = "") -> PushRequest:
    """The last step."""
    return PushRequest(commit=PushCommit(digest=digest))


OTHER = "sha256:" + sha256(b"other").hexdigest()
PUSHES = [
    # Names that could not be fetched, or would hide what belongs to another asset.
    bad([header("new/a_")], "INVALID_NAME", "'new/a_'", "begin and end with a letter or digit"),
    bad([header("new/_a")], "INVALID_NAME", "'new/_a'", "begins and ends with a letter or digit"),
    bad([header("new/1.0")], "INVALID_NAME", "'new/1.0'", "reads as a version"),
    bad([header("new/2/x")], "INVALID_NAME", "'new/2/x'", "reads as a version"),
    bad([header("new/x.versions")], "INVALID_NAME", "'new/x.versions'", "reserved ending"),
    bad([header("new/x.meta")], "INVALID_NAME", "'new/x.meta'", "reserved ending"),
    bad([header("new/asset[part]")], "INVALID_FIELD", "'new/asset[part]'", "pushed whole"),
    # Headers that contradict themselves.
    bad([header(kind=0)], "INVALID_FIELD", "header.kind", "the API names"),
    bad([header(push_id="not-a-uuid")], "INVALID_FIELD", "'not-a-uuid'", "UUID4"),
    bad([header("new/asset:1.2", bump=2)], "INVALID_FIELD", "'new/asset:1.2'", "leave bump unset"),
    bad([header(digest="sha1:1")], "INVALID_FIELD", "'sha1:1'", "64 lower-case hex digits"),
    # Part paths.
    bad([header(), files("../up")], "INVALID_PART", "'../up'", "below its version"),
    bad([header(), files("/etc/passwd")], "INVALID_PART", "'/etc/passwd'", "below its version"),
    bad([header(), files("a\x00b")], "INVALID_PART", "NUL and control characters"),
    bad([header(), files("sub/.SUCCESS")], "INVALID_PART", ".SUCCESS marks a complete version"),
    bad([header(), files("a", "a")], "INVALID_FIELD", "'a'", "twice"),
    bad(
        [header(), files("a", "a/b"), chunk("a"), chunk("a/b"), commit()],
        "INVALID_PART",
        *("'a'", "a file and a folder at once"),
    ),
    bad([header(), files("a", size_bytes=-1)], "INVALID_FIELD", "files[0].size_bytes"),
    bad([header(), files("")], "INVALID_FIELD", "needs a path"),
    # Steps in another order.
    bad([files("a")], "INVALID_PUSH_STREAM", "begins with its header"),
    bad([header(), header()], "INVALID_PUSH_STREAM", "one header"),
    bad([header(), chunk("a")], "INVALID_PUSH_STREAM", "'a'", "before the file was announced"),
    bad([header(), commit()], "INVALID_PUSH_STREAM", "at least one file"),
    bad([PushRequest()], "INVALID_PUSH_STREAM", "set header, files, chunk or commit"),
    # Bytes that are not those announced.
    bad([header(), files("a"), chunk("a", b"ab"), commit()], "PUSH_MISMATCH", "'a'", "2", "3"),
    bad([header(), files("a"), chunk("a", b"abcd"), commit()], "PUSH_MISMATCH", "'a'", "4", "3"),
    bad([header(), files("a"), chunk("a", offset=1)], "PUSH_MISMATCH", "'a'", "in order"),
    bad(
        [header(), files("a", digest=OTHER), chunk("a"), commit()],
        "PUSH_MISMATCH",
        *("'a'", sha256(b"abc").hexdigest(), sha256(b"other").hexdigest()),
    ),
    bad([header(), files("a"), chunk("a"), commit(OTHER)], "PUSH_MISMATCH", OTHER),
    # Ends without a commit.
    bad(
        [header(), files("a"), chunk("a")],
        "PUSH_NOT_COMMITTED",
        *("new/asset", "nothing was created"),
        code="ABORTED",
    ),
    # What exists, or does not.
    bad(
        [header("good/folder", mode=1)],
        "ASSET_EXISTS",
        *("good/folder", "0.0", "push an update"),
        code="ALREADY_EXISTS",
    ),
    bad(
        [header("new/asset", mode=2)],
        "ASSET_NOT_FOUND",
        *("new/asset", "push it as a new one"),
        code=NOT_FOUND,
    ),
    bad(
        [header("good/folder:0.0"), files("a"), chunk("a"), commit()],
        "VERSION_EXISTS",
        *("good/folder:0.0", "push the next version"),
        code="ALREADY_EXISTS",
    ),
]


@pytest.mark.parametrize("row", PUSHES, ids=str)
def test_a_bad_push_creates_nothing(daemon: Daemon, row: Bad) -> None:
    """All messages at once, as those send them who have no helper; no version, no bytes."""
    with daemon.channel() as channel:
        check(failure_of(lambda: AssetServiceStub(channel).Push(iter(row.request))), row)
