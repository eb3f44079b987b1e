"""The table from errors to statuses: whole, as the contract says, and never too large."""

import base64
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from assetd.v1 import error_reason_pb2
from assetd_server.errors import (
    AssetError,
    BadManifestError,
    InternalError,
    InvalidFieldError,
    InvalidPageTokenError,
    InvalidSpecError,
    IoError,
    PartNotFoundError,
    ReadOnlyError,
    StoreUnavailableError,
)
from assetd_server.rpc.status import (
    DETAILS_TRAILER,
    MAX_MESSAGE_BYTES,
    MAX_VALUE_BYTES,
    REASON_TRAILER,
    TABLE,
    WireStatus,
    cut,
    status_of,
)
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

REASONS_PROTO = Path(__file__).parents[2] / "protos/assetd/v1/error_reason.proto"
REASONS = error_reason_pb2.ErrorReason.DESCRIPTOR.values_by_name
ERRORS = AssetError.__subclasses__()
PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))
# Half a surrogate pair too: that is how Python shows a file name that is not UTF-8.
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=1000)

LONG_TEXT = st.sampled_from(["", "v", "v" * 200, "ä" * 300, "%" * 200, "\udcff" * 50, "\0\n" * 99])


def reason_of(kind: type[AssetError]) -> str:
    """The name of a case."""
    return kind.reason


def documented() -> dict[str, str]:
    """What the contract says of each reason."""
    entries = re.findall(
        r"((?: *//.*\n)+) *ERROR_REASON_(\w+) = ", REASONS_PROTO.read_text(), re.MULTILINE
    )
    return {reason: re.sub(r"[\s/]+", " ", comment) for comment, reason in entries}


def details_of(status: WireStatus) -> dict[str, Message]:
    """The details by their types, in their order."""
    raw = dict(status.trailers)[DETAILS_TRAILER]
    assert isinstance(raw, bytes)
    unpacked: dict[str, Message] = {}
    for packed in Status.FromString(raw).details:
        name = packed.TypeName().rpartition(".")[2]
        unpacked[name] = getattr(error_details_pb2, name)()
        assert packed.Unpack(unpacked[name])
    return unpacked


def metadata_of(status: WireStatus) -> dict[str, str]:
    """The values that the caller's program sees."""
    info = details_of(status)["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    return dict(info.metadata)


def header_bytes(status: WireStatus) -> int:
    """The size of all trailers, as a receiver counts it (RFC 9113, 6.5.2)."""
    values = {
        "grpc-status": "13",
        "grpc-message": quote(status.message, safe=PRINTABLE.replace("%", "")),
    }
    for name, value in status.trailers:
        values[name] = value if isinstance(value, str) else base64.b64encode(value).decode()
    return sum(len(name) + len(value) + 32 for name, value in values.items())


@pytest.mark.parametrize("kind", ERRORS, ids=reason_of)
def test_every_error_has_a_row(kind: type[AssetError]) -> None:
    """A new failure cannot reach callers as a defect by being forgotten."""
    assert kind in TABLE


def test_classes_and_reasons_are_the_same() -> None:
    """Each reason of the contract is raised by one class, and each class has one reason."""
    reasons = {name.removeprefix("ERROR_REASON_") for name in REASONS}
    assert sorted(kind.reason for kind in ERRORS) == sorted(reasons - {"UNSPECIFIED"})


@pytest.mark.parametrize("kind", ERRORS, ids=reason_of)
def test_the_contract_says_the_code(kind: type[AssetError]) -> None:
    """Code and details of each reason are those that its comment in the contract names."""
    told = documented()[kind.reason]
    status = status_of(kind("wrong"), "id")
    assert told.startswith(f" `{status.code.name}`:")
    promised = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"With [^.;]*", told))))
    if "after `RetryInfo`" in told:
        promised.add("RetryInfo")
    assert set(details_of(status)) == {"ErrorInfo"} | promised


def test_the_reason_stands_in_a_plain_trailer() -> None:
    """The reason also stands in a plain trailer, `assetd-reason`.

    Languages without the details can read it.
    """
    trailers = dict(status_of(StoreUnavailableError("down"), "id").trailers)
    assert trailers[REASON_TRAILER] == "STORE_UNAVAILABLE"


@pytest.mark.parametrize(
    ("error", "field"),
    [
        (InvalidFieldError("wrong", field="header.kind"), "header.kind"),
        (InvalidSpecError("wrong"), "spec"),
        (InvalidPageTokenError("wrong"), "page_token"),
    ],
    ids=["named", "spec", "page token"],
)
def test_a_bad_request_names_the_field(error: AssetError, field: str) -> None:
    """The error's own field, else the only one that the error can be about."""
    detail = details_of(status_of(error, "id"))["BadRequest"]
    assert isinstance(detail, error_details_pb2.BadRequest)
    assert [violation.field for violation in detail.field_violations] == [field]


@pytest.mark.parametrize(
    ("values", "resource"),
    [
        ({"key": "a/0.0.meta", "name": "a"}, "a/0.0.meta"),
        ({"name": "a"}, "a"),
        ({"name": "a", "version": "1.2"}, "a:1.2"),
        ({"name": "a", "version": "1.2", "part": "b/c"}, "a:1.2[b/c]"),
        ({"spec": "a:1"}, "a:1"),
        ({}, ""),
    ],
)
@pytest.mark.parametrize("kind", [PartNotFoundError, BadManifestError])
def test_a_resource_is_named(kind: type[AssetError], values: dict[str, str], resource: str) -> None:
    """A key of the store, else what a caller would write to name the thing."""
    detail = details_of(status_of(kind("wrong", **values), "id"))["ResourceInfo"]
    assert isinstance(detail, error_details_pb2.ResourceInfo)
    assert detail.resource_name == resource


def test_a_precondition_names_what_it_is_about() -> None:
    """A path of ASSETS_DIR, where the error knows no version."""
    detail = details_of(status_of(ReadOnlyError("{path}", path="a/0.0"), "id"))
    failure = detail["PreconditionFailure"]
    assert isinstance(failure, error_details_pb2.PreconditionFailure)
    assert [(found.type, found.subject) for found in failure.violations] == [("READ_ONLY", "a/0.0")]


@pytest.mark.parametrize(
    "error",
    [RuntimeError("/root/.aws: secret"), KeyError("secret"), OSError(5, "secret", "/root")],
    ids=["runtime", "key", "os"],
)
def test_a_defect_shows_nothing_but_its_id(error: Exception) -> None:
    """A defect of assetd shows its caller nothing but the id under which the log tells the rest.

    Whatever an exception of somebody else says stays in the log.
    """
    status = status_of(error, "id-1")
    assert status.code is StatusCode.INTERNAL
    assert status.reason == "INTERNAL"
    assert "id-1" in status.message
    assert metadata_of(status) == {"request_id": "id-1"}
    assert b"secret" not in b"".join(
        value if isinstance(value, bytes) else value.encode() for _, value in status.trailers
    )


@pytest.mark.parametrize("kind", [IoError, InternalError])
def test_internal_errors_have_the_request_id(kind: type[AssetError]) -> None:
    """What is to be reported can be found in the log."""
    status = status_of(kind("{path} broke", path="a/0.0"), "id-1")
    assert status.message == "a/0.0 broke"
    assert metadata_of(status) == {"request_id": "id-1", "path": "a/0.0"}


def test_what_is_echoed_is_cut_in_the_message_too() -> None:
    """The reason that stands behind a long value is not lost."""
    spec = "x" * 4000
    status = status_of(InvalidSpecError("{spec!r} is no spec: {why}", spec=spec, why="long"), "")
    assert metadata_of(status)["spec"] == "x" * 197 + "..."
    assert status.message == f"'{'x' * 197}...' is no spec: long"


@given(ANY_TEXT, st.integers(3, 300))
def test_a_cut_is_text_of_that_size(text: str, limit: int) -> None:
    """Cut between characters, and encodable, whatever it was before."""
    encoded = cut(text, limit).encode()
    assert len(encoded) <= limit
    kept = encoded.decode().removesuffix("...")
    assert text.encode(errors="backslashreplace").decode().startswith(kept)


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("short", 5, "short"),
        ("longer", 5, "lo..."),
        ("äöü", 6, "äöü"),
        ("äöüx", 6, "ä..."),
        ("\udcff", 6, "\\udcff"),
    ],
)
def test_cuts(text: str, limit: int, expected: str) -> None:
    """Nothing is cut that fits."""
    assert cut(text, limit) == expected


@given(
    st.sampled_from(ERRORS),
    ANY_TEXT,
    st.dictionaries(st.text("abcdef_", min_size=1, max_size=30), LONG_TEXT, max_size=25),
)
def test_trailers_are_never_too_large(
    kind: type[AssetError], text: str, values: dict[str, str]
) -> None:
    """All trailers of a failure stay under 4 KiB, and every echoed value under 200 bytes.

    Beyond 4 KiB grpc-java drops the connection, with every hold on it.
    """
    error = kind(text.replace("{", "").replace("}", ""))
    error.metadata.update(values)
    status = status_of(error, "id")
    assert header_bytes(status) < 4096
    assert len(status.message.encode()) <= MAX_MESSAGE_BYTES
    assert all(len(value.encode()) <= MAX_VALUE_BYTES for value in metadata_of(status).values())


def test_the_least_important_goes_first() -> None:
    """When to come again outlives the description; the reason and the first values stay."""
    values = {f"value_{number:02}": "v" * 200 for number in range(40)}
    error = StoreUnavailableError("down", **values)
    status = status_of(error, "id")
    assert list(details_of(status)) == ["ErrorInfo"]
    kept = list(metadata_of(status))
    assert 5 < len(kept) < 15
    assert sorted(kept) == list(values)[: len(kept)]
    ten = dict(list(values.items())[:9])
    assert list(details_of(status_of(StoreUnavailableError("down", **ten), "id"))) == [
        "ErrorInfo",
        "RetryInfo",
    ]
