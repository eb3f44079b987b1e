"""Failures on the wire and the exceptions that they become."""

import pickle
import re
from pathlib import Path

import assetd
import pytest
from assetd import AssetdError, Client, DaemonUnavailableError, RetryPolicy, errors
from assetd.v1 import error_reason_pb2

from tests.clients.python.scripted import Failure, OpenFetch, ScriptedDaemon, started

PROTO = Path(__file__).resolve().parents[3] / "protos/assetd/v1/error_reason.proto"
# The contract itself: "// `CODE`: ..." above each value.
CODES = {
    reason: code
    for code, reason in re.findall(
        r"// `([A-Z_]+)`: (?:[^\n]*\n  //)*[^\n]*\n  ERROR_REASON_(\w+) = ", PROTO.read_text()
    )
}


@pytest.fixture
def client(daemon: ScriptedDaemon) -> Client:
    """A client that believes a failure at once."""
    return Client(daemon.address, retry=RetryPolicy(patience_seconds=0, connect_patience_seconds=0))


def test_every_reason_has_its_class() -> None:
    """A reason that is added to the contract cannot be forgotten here."""
    names = error_reason_pb2.ErrorReason.DESCRIPTOR.values_by_name
    reasons = {name.removeprefix("ERROR_REASON_") for name in names}
    assert set(errors.BY_REASON) == set(CODES) == reasons - {"UNSPECIFIED"}


@pytest.mark.parametrize(("reason", "error"), errors.BY_REASON.items())
def test_a_class_is_called_like_its_reason(reason: str, error: type[AssetdError]) -> None:
    """What the documentation of the API says, a caller finds, on the package itself."""
    name = "".join(word.capitalize() for word in reason.split("_"))
    assert error.__name__ == name.removesuffix("Error") + "Error"
    assert getattr(assetd, error.__name__) is error
    assert error.__name__ in assetd.__all__


@pytest.mark.parametrize("details", [True, False], ids=["details", "trailer alone"])
@pytest.mark.parametrize("reason", sorted(errors.BY_REASON))
def test_every_reason_is_raised_as_its_class(
    daemon: ScriptedDaemon, client: Client, reason: str, details: bool
) -> None:
    """By the details, and by the ASCII trailer where something has stripped those."""
    daemon.resolves.append(Failure(CODES[reason], reason, "words", details=details))
    with client, pytest.raises(errors.BY_REASON[reason]) as raised:
        client.resolve("nlp/ranker")
    assert type(raised.value) is errors.BY_REASON[reason]
    assert raised.value.reason == type(raised.value).reason == reason
    assert raised.value.code == type(raised.value).code == CODES[reason]
    assert str(raised.value) == raised.value.message == "words"


def test_values_and_pause_arrive(daemon: ScriptedDaemon, client: Client) -> None:
    """A program need not read the message."""
    daemon.resolves.append(
        Failure(
            "RESOURCE_EXHAUSTED",
            "CACHE_FULL",
            metadata={"needed_bytes": "7"},
            retry_after_seconds=1.5,
        )
    )
    with client, pytest.raises(assetd.CacheFullError) as raised:
        client.resolve("nlp/ranker")
    assert raised.value.metadata == {"needed_bytes": "7"}
    assert raised.value.retry_after_seconds == 1.5


def test_a_reason_of_a_newer_daemon_goes_by_its_code(
    daemon: ScriptedDaemon, client: Client
) -> None:
    """Nothing is lost: reason, code and message are there."""
    daemon.resolves.append(Failure("DATA_LOSS", "MOTH_EATEN", "holes"))
    with client, pytest.raises(AssetdError) as raised:
        client.resolve("nlp/ranker")
    error = raised.value
    assert (type(error), error.reason, error.code) == (AssetdError, "MOTH_EATEN", "DATA_LOSS")


def test_somebody_elses_reason_is_none_of_ours(daemon: ScriptedDaemon, client: Client) -> None:
    """Details of another domain are not read as our words."""
    failure = Failure("NOT_FOUND", "ASSET_NOT_FOUND", domain="proxy.example")
    failure.trailers = failure.trailers[1:]
    daemon.resolves.append(failure)
    with client, pytest.raises(AssetdError) as raised:
        client.resolve("nlp/ranker")
    error = raised.value
    assert (type(error), error.reason, error.code) == (AssetdError, "", "NOT_FOUND")


def test_details_that_are_garbage_hide_nothing(daemon: ScriptedDaemon, client: Client) -> None:
    """The trailer still tells."""
    failure = Failure("NOT_FOUND", "PART_NOT_FOUND", details=False)
    failure.trailers.append(("grpc-status-details-bin", b"\xff\xff\xff"))
    daemon.resolves.append(failure)
    with client, pytest.raises(assetd.PartNotFoundError):
        client.resolve("nlp/ranker")


def test_no_daemon_says_how_to_start_one(socket: Path) -> None:
    """The commonest mistake of all names the address, the cause, and the way out."""
    client = Client(f"unix://{socket}", retry=RetryPolicy(connect_patience_seconds=0))
    with client, pytest.raises(DaemonUnavailableError) as raised:
        client.status()
    error = raised.value
    assert (error.reason, error.code) == ("", "UNAVAILABLE")
    assert error.metadata == {"address": f"unix://{socket}", "cause": "No such file or directory"}
    assert str(socket) in str(error)
    assert "No such file or directory)" in str(error)
    assert "`assetd serve`" in str(error)


def test_a_timeout_is_also_pythons(daemon: ScriptedDaemon, client: Client) -> None:
    """`except TimeoutError` works as everywhere, and says which limit it was."""
    daemon.fetches.append(OpenFetch(started()))
    with client, pytest.raises(TimeoutError) as raised:
        client.fetch("nlp/ranker", timeout=1)
    assert isinstance(raised.value, assetd.CallTimeoutError)
    assert raised.value.metadata == {"timeout_seconds": "1"}


def test_a_limit_of_the_daemon_is_a_timeout_too(daemon: ScriptedDaemon, client: Client) -> None:
    """It may end a call that has taken too long for its own taste."""
    daemon.resolves.append(Failure("DEADLINE_EXCEEDED", message="idle for too long"))
    with client, pytest.raises(assetd.CallTimeoutError, match="idle for too long"):
        client.resolve("nlp/ranker")


def test_an_error_travels_between_processes() -> None:
    """Pools of processes pickle what they raise."""
    error = assetd.CacheFullError("full", metadata={"a": "b"}, retry_after_seconds=2)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(copy) is type(error)
    assert vars(copy) == vars(error)
    assert str(copy) == "full"
