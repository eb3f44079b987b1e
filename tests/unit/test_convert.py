"""Requests into orders: every field arrives, and what is out of its range is refused by name."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from assetd.v1 import asset_pb2
from assetd.v1 import asset_service_pb2 as pb
from assetd_server.assets.orders import (
    Bump,
    FetchOrder,
    ListFilesOrder,
    ListOrder,
    PushChunk,
    PushChunks,
    PushCommit,
    PushFiles,
    PushHeader,
    PushMode,
    PushStep,
    ResolveOrder,
    Scope,
)
from assetd_server.assets.selection import Selection
from assetd_server.errors import (
    AssetError,
    InvalidFieldError,
    InvalidNameError,
    InvalidPartError,
    InvalidPushStreamError,
    InvalidSpecError,
    InvalidVersionError,
    NotBuiltError,
    SourceNotAllowedError,
)
from assetd_server.manifest import Part
from assetd_server.model import AssetKind, Digest, Freshness, PartPath
from assetd_server.rpc import convert, push_convert
from assetd_server.spec import Spec
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"
PUSH_ID = "3f2b8c1e-5d4a-4e6f-9a7b-0c1d2e3f4a5b"
FILE = asset_pb2.ASSET_KIND_FILE
SPEC = Spec.parse("nlp/ranker:1")


def seconds(count: float) -> Duration:
    """A duration as the wire has it."""
    whole = int(count)
    return Duration(seconds=whole, nanos=round((count - whole) * 1e9))


def header(**fields: Any) -> pb.PushRequest:
    """The first message of a push, with what a test is about."""
    return pb.PushRequest(header=pb.PushHeader(**{"spec": "nlp/ranker", "kind": FILE, **fields}))


def files(*named: pb.PushFile) -> pb.PushRequest:
    """The message that announces files."""
    return pb.PushRequest(files=pb.PushFiles(files=named))


def chunks(*several: pb.PushChunk) -> pb.PushRequest:
    """Several chunks in one message."""
    return pb.PushRequest(chunks=pb.PushChunks(chunks=several))


def chunk(**fields: Any) -> pb.PushRequest:
    """The message that brings bytes."""
    return pb.PushRequest(chunk=pb.PushChunk(**fields))


def commit(digest: str) -> pb.PushRequest:
    """The last message of a push."""
    return pb.PushRequest(commit=pb.PushCommit(digest=digest))


def test_what_is_unset_is_the_daemons_choice() -> None:
    """A request with a spec alone is whole."""
    plain = pb.FetchRequest(spec="nlp/ranker:1")
    assert convert.fetch_order(plain) == FetchOrder(spec=SPEC)
    assert convert.resolve_order(pb.ResolveVersionRequest(spec="nlp/ranker:1")) == ResolveOrder(
        spec=SPEC
    )
    assert convert.list_order(pb.ListRequest()) == ListOrder()
    assert convert.list_files_order(pb.ListFilesRequest(spec="nlp/ranker:1")) == ListFilesOrder(
        spec=SPEC
    )


def test_every_field_of_a_fetch_arrives() -> None:
    """Nothing that a caller sets is ignored."""
    request = pb.FetchRequest(
        spec="nlp/ranker:1",
        freshness=asset_pb2.FRESHNESS_STORE_OR_CACHE,
        store_timeout=seconds(2.5),
        expected_digest=DIGEST,
        verify=True,
        force_download=True,
        hold=True,
        progress_interval=seconds(1),
        caller="ranker-server",
    )
    assert convert.fetch_order(request) == FetchOrder(
        spec=SPEC,
        freshness=Freshness.STORE_OR_CACHE,
        store_timeout_seconds=2.5,
        expected_digest=Digest(DIGEST),
        verify=True,
        force_download=True,
        hold=True,
        progress_interval_seconds=1.0,
        caller="ranker-server",
    )


@pytest.mark.parametrize(
    ("fields", "selection"),
    [
        ({}, None),
        ({"include": ["b", "a", "b"]}, Selection(include=("a", "b"))),
        ({"include": ["*"], "exclude": ["c"]}, Selection(("*",), ("c",))),
        ({"part_only": True}, Selection(folder=PartPath("sub/x"))),
    ],
)
def test_what_a_fetch_chooses_arrives(fields: dict[str, Any], selection: Selection | None) -> None:
    """Globs in any order are the same choice; a part in the spec is one with part_only alone."""
    order = convert.fetch_order(pb.FetchRequest(spec="a[sub/x]", **fields))
    assert order.selection == selection


def test_every_field_of_the_other_questions_arrives() -> None:
    """Nothing that a caller sets is ignored."""
    assert convert.resolve_order(
        pb.ResolveVersionRequest(
            spec="nlp/ranker:1", freshness=asset_pb2.FRESHNESS_CACHE, store_timeout=seconds(3)
        )
    ) == ResolveOrder(SPEC, Freshness.CACHE, 3.0)
    assert convert.list_order(
        pb.ListRequest(
            name_prefix="nlp/",
            scope=pb.ListRequest.SCOPE_STORE,
            latest_only=True,
            view=pb.ListRequest.VIEW_FULL,
            page_size=7,
            page_token="t",
        )
    ) == ListOrder("nlp/", Scope.STORE, latest_only=True, full=True, page_size=7, page_token="t")
    assert convert.list_files_order(
        pb.ListFilesRequest(
            spec="nlp/ranker:1",
            freshness=asset_pb2.FRESHNESS_STORE,
            include=["*.json"],
            exclude=["b*"],
            page_size=7,
            page_token="t",
        )
    ) == ListFilesOrder(SPEC, Freshness.STORE, ("*.json",), ("b*",), page_size=7, page_token="t")


@pytest.mark.parametrize(
    ("request_", "step"),
    [
        (header(), PushHeader(Spec.parse("nlp/ranker"), AssetKind.FILE)),
        (
            header(
                kind=asset_pb2.ASSET_KIND_DIRECTORY,
                bump=pb.PushHeader.BUMP_MAJOR,
                mode=pb.PushHeader.MODE_UPDATE,
                labels={"a": "b", "c": ""},
                validate_only=True,
                push_id=PUSH_ID,
                digest=DIGEST,
            ),
            PushHeader(
                Spec.parse("nlp/ranker"),
                AssetKind.DIRECTORY,
                Bump.MAJOR,
                PushMode.UPDATE,
                labels={"a": "b", "c": ""},
                validate_only=True,
                push_id=PUSH_ID,
                digest=Digest(DIGEST),
            ),
        ),
        (
            files(pb.PushFile(path="a/b", size_bytes=5, digest=DIGEST), pb.PushFile(path="c")),
            PushFiles([Part(PartPath("a/b"), 5, HEX), Part(PartPath("c"), 0, None)]),
        ),
        (files(pb.PushFile(size_bytes=5)), PushFiles([Part(PartPath.of_file(), 5)])),
        (
            chunk(path="a/b", offset=3, data=b"xy"),
            PushChunk(PartPath("a/b"), 3, b"xy"),
        ),
        (chunk(data=b"x" * 2**20), PushChunk(PartPath.of_file(), 0, b"x" * 2**20)),
        (commit(""), PushCommit()),
        (commit(DIGEST), PushCommit(Digest(DIGEST))),
    ],
    ids=["header", "full header", "files", "file", "chunk", "1 MiB", "commit", "digest"],
)
def test_steps_of_a_push(request_: pb.PushRequest, step: PushStep) -> None:
    """Each message is one step."""
    assert push_convert.step_of(request_) == step


def test_several_chunks_are_one_step() -> None:
    """In their order; their bounds are those of one message."""
    several = chunks(pb.PushChunk(path="a", data=b"x"), pb.PushChunk(path="b/c", offset=2))
    each = [PushChunk(PartPath("a"), 0, b"x"), PushChunk(PartPath("b/c"), 2, b"")]
    assert push_convert.step_of(several) == PushChunks(each)
    half = pb.PushChunk(data=b"x" * 2**19)
    for most in ([half] * 2, [pb.PushChunk()] * 1000):
        step = push_convert.step_of(chunks(*most))
        assert isinstance(step, PushChunks)
        assert len(step.chunks) == len(most)


@pytest.mark.parametrize(
    ("asked", "given"), [(0, 100), (1, 1), (1000, 1000), (1001, 1000), (2**31 - 1, 1000)]
)
def test_page_sizes(asked: int, given: int) -> None:
    """0 is 100, and no page is larger than 1,000."""
    assert convert.list_order(pb.ListRequest(page_size=asked)).page_size == given
    request = pb.ListFilesRequest(spec="a", page_size=asked)
    assert convert.list_files_order(request).page_size == given


@pytest.mark.parametrize(
    ("asked", "given"),
    [(-1, 0.05), (0, 0.05), (0.01, 0.05), (0.05, 0.05), (0.7, 0.7), (5, 5), (3600, 5)],
)
def test_progress_intervals_are_moved_into_their_range(asked: float, given: float) -> None:
    """Progress comes as often as the caller asks, but within 50 ms to 5 s.

    Neither a flood nor a silence that looks like trouble.
    """
    order = convert.fetch_order(pb.FetchRequest(spec="a", progress_interval=seconds(asked)))
    assert order.progress_interval_seconds == pytest.approx(given)


def fetch(**fields: Any) -> Callable[[], object]:
    """A conversion of a fetch that is expected to fail."""
    return lambda: convert.fetch_order(pb.FetchRequest(**{"spec": "a", **fields}))


def step(request: pb.PushRequest) -> Callable[[], object]:
    """A conversion of a step that is expected to fail."""
    return lambda: push_convert.step_of(request)


def listing(**fields: Any) -> Callable[[], object]:
    """A conversion of a listing that is expected to fail."""
    return lambda: convert.list_order(pb.ListRequest(**fields))


@pytest.mark.parametrize(
    ("act", "error", "field"),
    [
        (fetch(part_only=True), InvalidFieldError, "part_only"),
        (fetch(spec="a[b]", part_only=True, include=["*"]), InvalidFieldError, "part_only"),
        (fetch(spec="a[b]", part_only=True, exclude=["*"]), InvalidFieldError, "part_only"),
        (fetch(include=[""]), InvalidFieldError, "include"),
        (fetch(exclude=["*"] * 101), InvalidFieldError, "exclude"),
        (step(header(labels={"": "b"})), InvalidFieldError, "header.labels"),
        (step(header(labels={"a\n": "b"})), InvalidFieldError, "header.labels"),
        (step(header(labels={"a" * 129: "b"})), InvalidFieldError, "header.labels"),
        (step(header(labels={"a": "b" * 2049})), InvalidFieldError, "header.labels"),
        (
            step(header(labels={str(n): "b" for n in range(65)})),
            InvalidFieldError,
            "header.labels",
        ),
        (step(header(staged_path="")), InvalidFieldError, "header.staged_path"),
        (step(header(staged_path="../x")), SourceNotAllowedError, "header.staged_path"),
        (step(header(source_uri="http://a")), InvalidFieldError, "header.source_uri"),
        (fetch(spec=""), InvalidSpecError, "spec"),
        (fetch(spec="a["), InvalidSpecError, "spec"),
        (fetch(spec="../a"), InvalidNameError, "spec"),
        (fetch(spec="a:01"), InvalidVersionError, "spec"),
        (fetch(spec="a[../b]"), InvalidPartError, "spec"),
        (fetch(freshness=9), InvalidFieldError, "freshness"),
        (fetch(store_timeout=seconds(0)), InvalidFieldError, "store_timeout"),
        (fetch(store_timeout=seconds(-1)), InvalidFieldError, "store_timeout"),
        (fetch(expected_digest=HEX), InvalidFieldError, "expected_digest"),
        (listing(scope=9), InvalidFieldError, "scope"),
        (listing(view=-1), InvalidFieldError, "view"),
        (listing(page_size=-1), InvalidFieldError, "page_size"),
        (step(pb.PushRequest()), InvalidPushStreamError, "step"),
        (step(header(spec="")), InvalidSpecError, "header.spec"),
        (step(header(spec="a:x")), InvalidVersionError, "header.spec"),
        (step(header(spec="a[b]")), InvalidFieldError, "header.spec"),
        (step(header(kind=0)), InvalidFieldError, "header.kind"),
        (step(header(bump=9)), InvalidFieldError, "header.bump"),
        (step(header(spec="a:1", bump=1)), InvalidFieldError, "header.bump"),
        (step(header(spec="a:1.2", bump=2)), InvalidFieldError, "header.bump"),
        (step(header(mode=9)), InvalidFieldError, "header.mode"),
        (step(header(digest="sha256:no")), InvalidFieldError, "header.digest"),
        (step(header(push_id="p1")), InvalidFieldError, "header.push_id"),
        (step(header(push_id=PUSH_ID.upper())), InvalidFieldError, "header.push_id"),
        (step(header(push_id=str(uuid.UUID(int=1)))), InvalidFieldError, "header.push_id"),
        (step(files(*[pb.PushFile()] * 1001)), InvalidFieldError, "files.files"),
        (
            step(files(pb.PushFile(), pb.PushFile(path="/a"))),
            InvalidPartError,
            "files.files[1].path",
        ),
        (step(files(pb.PushFile(size_bytes=-1))), InvalidFieldError, "files.files[0].size_bytes"),
        (step(files(pb.PushFile(digest="x"))), InvalidFieldError, "files.files[0].digest"),
        (step(chunk(path="a//b")), InvalidPartError, "chunk.path"),
        (step(chunk(offset=-1)), InvalidFieldError, "chunk.offset"),
        (step(chunk(data=b"x" * (2**20 + 1))), InvalidFieldError, "chunk.data"),
        (
            step(chunks(pb.PushChunk(), pb.PushChunk(path="a//b"))),
            InvalidPartError,
            "chunks.chunks[1].path",
        ),
        (step(chunks(pb.PushChunk(offset=-1))), InvalidFieldError, "chunks.chunks[0].offset"),
        (step(chunks(*[pb.PushChunk()] * 1001)), InvalidFieldError, "chunks.chunks"),
        (
            step(chunks(pb.PushChunk(data=b"x" * 2**20), pb.PushChunk(data=b"x"))),
            InvalidFieldError,
            "chunks.chunks",
        ),
        (step(commit("x")), InvalidFieldError, "commit.digest"),
    ],
)
def test_refusals(act: Callable[[], object], error: type[AssetError], field: str) -> None:
    """What cannot be done, or is not built, is refused by the name of its field."""
    with pytest.raises(error) as refused:
        act()
    assert refused.value.metadata["field"] == field


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("stage", "x" * 3000, "the value of the label 'stage' is 3000 bytes long: at most 2048"),
        ("ä" * 65, "", f"the key of the label '{'ä' * 65}' is 130 bytes long: at most 128"),
    ],
)
def test_a_label_that_is_too_long_is_named(key: str, value: str, told: str) -> None:
    """Of many labels the one at fault is told, by its key."""
    with pytest.raises(InvalidFieldError, match=told) as refused:
        step(header(labels={"fine": "yes", key: value}))()
    assert refused.value.metadata["key"] == key


def test_a_refused_choice_shows_its_value() -> None:
    """A client of a later release learns which of its values is not known here."""
    with pytest.raises(InvalidFieldError, match="freshness cannot be 9"):
        fetch(freshness=9)()


@pytest.mark.parametrize(
    ("message", "wrap"),
    [
        (pb.PushFiles(), lambda files: pb.PushRequest(files=files)),
        (pb.PushFile(), files),
        (pb.PushChunk(), lambda chunk: pb.PushRequest(chunk=chunk)),
        (pb.PushChunk(), chunks),
        (pb.PushChunks(), lambda chunks: pb.PushRequest(chunks=chunks)),
        (pb.PushCommit(), lambda commit: pb.PushRequest(commit=commit)),
    ],
)
def test_a_later_field_of_a_step_is_not_ignored(
    message: Message, wrap: Callable[[Any], pb.PushRequest]
) -> None:
    """However deep it lies, it is refused by name and number."""
    message.MergeFromString(b"\xf8\x07\x01")
    with pytest.raises(NotBuiltError) as refused:
        push_convert.step_of(wrap(message))
    assert refused.value.metadata["field"] == f"{message.DESCRIPTOR.full_name}.127"


def test_a_caller_may_have_a_long_name() -> None:
    """256 bytes are enough for any, and little enough for a status page of thousands.

    A longer one is cut between two characters: it is a note, and no reason to fail a fetch.
    """
    request = pb.FetchRequest(spec="a", caller="ä" * 128)
    assert convert.fetch_order(request).caller == "ä" * 128
    request = pb.FetchRequest(spec="a", caller="ä" * 129)
    assert convert.fetch_order(request).caller == "ä" * 126 + "..."


def test_every_field_is_read_or_refused() -> None:
    """A field that the contract gains is converted, or refused by name: never forgotten."""
    known: dict[type[Message], set[str]] = {
        pb.ResolveVersionRequest: {"spec", "freshness", "store_timeout"},
        pb.FetchRequest: {
            "spec",
            "freshness",
            "store_timeout",
            "expected_digest",
            "include",
            "exclude",
            "part_only",
            "verify",
            "force_download",
            "hold",
            "progress_interval",
            "caller",
        },
        pb.PushHeader: {
            "spec",
            "bump",
            "mode",
            "kind",
            "labels",
            "validate_only",
            "push_id",
            "digest",
            "staged_path",
            "source_uri",
        },
        pb.PushFile: {"path", "size_bytes", "digest"},
        pb.PushFiles: {"files"},
        pb.PushChunk: {"path", "offset", "data"},
        pb.PushChunks: {"chunks"},
        pb.PushCommit: {"digest"},
        pb.ListRequest: {
            "name_prefix",
            "scope",
            "latest_only",
            "view",
            "page_size",
            "page_token",
        },
        pb.ListFilesRequest: {
            "spec",
            "freshness",
            "include",
            "exclude",
            "page_size",
            "page_token",
        },
    }
    for message, fields in known.items():
        assert set(message.DESCRIPTOR.fields_by_name) == fields
