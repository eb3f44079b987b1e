"""The wire contract keeps its own rules: it lints, breaks nobody, and says what can go wrong.

Reads `protos/` alone and knows nothing of the service: that the daemon answers as these comments
say is for the tests at the wire. That the stubs are fresh is for `tools/generate --check`.
"""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from google.protobuf import descriptor_pb2

ROOT = Path(__file__).resolve().parents[2]
BASELINE = ROOT / "protos" / "baseline.binpb"
BUF = Path(sys.executable).with_name("buf")

# Where things stand in a FileDescriptorProto: the path of a comment is made of these.
ENUM_FIELD, ENUM_VALUE_FIELD = 5, 2
SERVICE_FIELD, METHOD_FIELD = 6, 2

REASON_PREFIX = "ERROR_REASON_"
GRPC_CODES = {code.name for code in grpc.StatusCode}
QUOTED_NAME = re.compile(r"`([A-Z][A-Z_]+)`")

METHODS = [
    "AssetService.ResolveVersion",
    "AssetService.Fetch",
    "AssetService.Push",
    "AssetService.List",
    "AssetService.ListFiles",
    "CacheService.GetCacheStatus",
    "CacheService.Evict",
    "CacheService.Pin",
    "CacheService.Unpin",
    "CacheService.Verify",
]
READING_METHODS = {"ResolveVersion", "List", "ListFiles", "GetCacheStatus"}


@dataclass(frozen=True)
class Contract:
    """The compiled files, and the comment that leads each service, method and reason."""

    files: list[descriptor_pb2.FileDescriptorProto]
    services: dict[str, str]
    methods: dict[str, str]
    reasons: dict[str, str]


@dataclass(frozen=True)
class ErrorLine:
    """One item of a list of errors: a code, and the reasons that come with it."""

    code: str
    reasons: frozenset[str]


def buf(*arguments: str | Path, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """What buf says of the contract in `folder`."""
    return subprocess.run(
        [BUF, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> Contract:
    """The contract as it stands in `protos/`, with its comments."""
    image = tmp_path_factory.mktemp("image") / "image.binpb"
    build = buf("build", "-o", image)
    assert build.returncode == 0, build.stderr
    compiled = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes())
    files = [file for file in compiled.file if file.package == "assetd.v1"]
    services, methods, reasons = {}, {}, {}
    for file in files:
        comments = leading_comments(file)
        for s, service in enumerate(file.service):
            services[service.name] = comments[SERVICE_FIELD, s]
            for m, method in enumerate(service.method):
                comment = comments[SERVICE_FIELD, s, METHOD_FIELD, m]
                methods[f"{service.name}.{method.name}"] = comment
        for e, enum in enumerate(file.enum_type):
            if enum.name == "ErrorReason":
                for v, value in enumerate(enum.value):
                    comment = comments.get((ENUM_FIELD, e, ENUM_VALUE_FIELD, v), "")
                    reasons[value.name.removeprefix(REASON_PREFIX)] = comment
    return Contract(files, services, methods, reasons)


def leading_comments(file: descriptor_pb2.FileDescriptorProto) -> dict[tuple[int, ...], str]:
    """The comments of a file, by what they stand above."""
    return {
        tuple(location.path): location.leading_comments
        for location in file.source_code_info.location
        if location.leading_comments
    }


def list_of_errors(comment: str, heading: str) -> list[ErrorLine]:
    """The items below `heading`, with which a comment ends."""
    _, found, listing = comment.partition(heading)
    assert found, f"no {heading!r} in: {comment}"
    return [error_line(item) for item in re.split(r"^ \* ", listing, flags=re.MULTILINE)[1:]]


def error_line(item: str) -> ErrorLine:
    """The names that an item begins with: "`CODE` `REASON`, `REASON`: what the caller does"."""
    names, _, prose = item.partition(":")
    assert prose.strip(), f"what the caller does is missing: {item}"
    code, *reasons = QUOTED_NAME.findall(names)
    return ErrorLine(code, frozenset(reasons))


def code_of(reason_comment: str) -> str:
    """The code that the comment of a reason begins with."""
    match = re.match(r" `([A-Z_]+)`: ", reason_comment)
    return match[1] if match else ""


def test_it_lints() -> None:
    """STANDARD and COMMENTS hold, without an exception."""
    lint = buf("lint")
    assert lint.returncode == 0, lint.stdout + lint.stderr


def test_it_breaks_nobody() -> None:
    """Whoever was built against the released contract still understands this one."""
    breaking = buf("breaking", "--against", BASELINE)
    assert breaking.returncode == 0, breaking.stdout + breaking.stderr


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        (
            "asset_service.proto",
            "  string caller = 12;\n",
            'field "12" with name "caller" on message "FetchRequest" was deleted',
        ),
        (
            "error_reason.proto",
            "  ERROR_REASON_NOT_BUILT = 39;\n",
            'enum value "39" on enum "ErrorReason" was deleted',
        ),
        (
            "cache_service.proto",
            "  rpc Pin(PinRequest) returns (PinResponse);\n",
            'RPC "Pin" on service "CacheService" was deleted',
        ),
    ],
)
def test_what_is_taken_away_is_named(tmp_path: Path, file: str, line: str, complaint: str) -> None:
    """The check against the baseline can fail, and says what a client would miss."""
    shutil.copytree(ROOT / "protos", tmp_path / "protos")
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    path = tmp_path / "protos" / "assetd" / "v1" / file
    text = path.read_text()
    assert text.count(line) == 1
    path.write_text(text.replace(line, ""))
    breaking = buf("breaking", "--against", BASELINE, folder=tmp_path)
    assert breaking.returncode != 0
    assert complaint in breaking.stdout


def test_the_methods_are_those_that_are_tested_here(contract: Contract) -> None:
    """A new method cannot stay outside of the tests below by being forgotten."""
    assert list(contract.methods) == METHODS


@pytest.mark.parametrize("method", METHODS)
def test_every_method_lists_its_errors(contract: Contract, method: str) -> None:
    """A caller learns from the comment what to be ready for; each reason has its own code."""
    lines = list_of_errors(contract.methods[method], "\n Errors:\n")
    assert_codes_fit(contract, lines)


@pytest.mark.parametrize("service", ["AssetService", "CacheService"])
def test_every_service_lists_the_errors_of_all_its_methods(
    contract: Contract, service: str
) -> None:
    """What any method may end with is said once, above the service."""
    lines = list_of_errors(contract.services[service], "method may also end with:\n")
    assert_codes_fit(contract, lines)


def assert_codes_fit(contract: Contract, lines: list[ErrorLine]) -> None:
    """Assert that there is a line, and in each a reason, and that each has the line's code."""
    assert lines
    for line in lines:
        assert line.reasons
        for reason in line.reasons:
            assert code_of(contract.reasons[reason]) == line.code, reason


def test_every_reason_says_its_code_and_what_it_means(contract: Contract) -> None:
    """No reason without a comment, and each in words of its own."""
    reasons = dict(contract.reasons)
    assert reasons.pop("UNSPECIFIED").strip() == "Never sent."
    assert all(code_of(comment) in GRPC_CODES for comment in reasons.values()), reasons
    assert len(set(reasons.values())) == len(reasons)


def test_every_reason_is_an_error_of_some_method(contract: Contract) -> None:
    """A reason that no list names would be one that no caller expects."""
    comments = [*contract.services.values(), *contract.methods.values()]
    named = {name for comment in comments for name in QUOTED_NAME.findall(comment)}
    assert contract.reasons.keys() - named == {"UNSPECIFIED"}


def test_what_reads_is_marked_as_safe_to_repeat(contract: Contract) -> None:
    """Proxies and clients may retry or cache what has no side effects, and nothing else."""
    marked = {
        method.name
        for file in contract.files
        for service in file.service
        for method in service.method
        if method.options.idempotency_level == descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS
    }
    assert marked == READING_METHODS


def test_it_needs_nothing_but_the_protobuf_library(contract: Contract) -> None:
    """Whoever copies `protos/assetd` can generate from it: nothing else has to be fetched."""
    imports = {name for file in contract.files for name in file.dependency}
    assert {name.rpartition("/")[0] for name in imports} == {"assetd/v1", "google/protobuf"}


def test_every_file_says_where_its_stubs_belong(contract: Contract) -> None:
    """One Go package and one Java package, with a class of its own for each file in Java."""
    options = [file.options for file in contract.files]
    assert {option.go_package for option in options} == {
        "github.com/assetd/assetd/clients/go/assetdv1;assetdv1"
    }
    assert {option.java_package for option in options} == {"io.assetd.v1"}
    assert all(option.java_multiple_files for option in options)
    assert {option.java_outer_classname for option in options} == {
        "AssetProto",
        "AssetServiceProto",
        "CacheServiceProto",
        "ErrorReasonProto",
    }


def test_the_python_stubs_load_without_a_warning() -> None:
    """A caller that turns warnings into errors can import them, whatever it imported before."""
    modules = "asset_pb2, asset_service_pb2_grpc, cache_service_pb2_grpc, error_reason_pb2"
    load = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"from assetd.v1 import {modules}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert load.returncode == 0, load.stderr
