"""The log: JSON, one object a line, and nothing in it that is secret."""

import errno
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from assetd_server import logs
from assetd_server.telemetry import Telemetry
from opentelemetry.sdk.trace import TracerProvider


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Other tests find the logging that they expect."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


def logged(stream: io.StringIO) -> list[dict[str, Any]]:
    """The lines that were written."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_an_object() -> None:
    """Time in UTC, level, event, and the fields by their names."""
    stream = io.StringIO()
    logs.configure("info", stream)
    structlog.get_logger().info("fetched", spec="nlp/ranker:1", transferred_bytes=5)
    [line] = logged(stream)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "event": "fetched",
        "spec": "nlp/ranker:1",
        "transferred_bytes": 5,
    }


def test_a_text_is_one_line_whatever_it_holds() -> None:
    """Nobody can write a line of the log by a request."""
    stream = io.StringIO()
    logs.configure("info", stream)
    structlog.get_logger().info("fetched", caller='a\n{"level": "error"}\udcff\x1b[31m')
    [line] = logged(stream)
    assert line["caller"] == 'a\n{"level": "error"}\udcff\x1b[31m'
    assert stream.getvalue().isascii()


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_levels(level: str, shown: list[str]) -> None:
    """A level shows itself and what is worse; all of them are known."""
    stream = io.StringIO()
    logs.configure(level, stream)
    for each in logs.LEVELS:
        getattr(structlog.get_logger(), each)("said")
    assert [line["level"] for line in logged(stream)] == shown


def test_a_logger_made_before_the_start_follows() -> None:
    """Modules make theirs when they are imported."""
    early = structlog.get_logger()
    stream = io.StringIO()
    logs.configure("info", stream)
    early.info("said")
    early.debug("not said")
    assert [line["event"] for line in logged(stream)] == ["said"]


def test_libraries_log_in_the_same_form() -> None:
    """Their warnings are shown, their chatter is not."""
    stream = io.StringIO()
    logs.configure("debug", stream)
    library = logging.getLogger("botocore.credentials")
    library.info("chatter")
    library.warning("%s is odd", "this")
    [line] = logged(stream)
    assert (line["level"], line["event"]) == ("warning", "this is odd")
    assert line["logger"] == "botocore.credentials"
    assert line["time"].endswith("Z")


def test_a_traceback_is_a_field() -> None:
    """Of ours and of libraries; the values of variables, which may be secret, are not in it."""
    stream = io.StringIO()
    logs.configure("info", stream)
    try:
        password = "hunter2"
        raise RuntimeError(str(len(password)))
    except RuntimeError as error:
        structlog.get_logger().error("broke", exc_info=error)
        logging.getLogger("library").exception("broke")
    for line in logged(stream):
        assert "RuntimeError: 7" in line["exception"]
        assert "Traceback" in line["exception"]
    assert "hunter2" not in stream.getvalue().replace('password = "hunter2"', "")


def test_secrets_are_masked_by_their_names() -> None:
    """The last line of defence: nobody should log them."""
    stream = io.StringIO()
    logs.configure("info", stream)
    names = ["aws_secret_access_key", "Authorization", "session_token", "password", "credentials"]
    structlog.get_logger().info("connected", **dict.fromkeys(names, "hunter2"), key="a/0.0")
    [line] = logged(stream)
    assert {line[name] for name in names} == {"***"}
    assert line["key"] == "a/0.0"


def test_lines_name_their_span_and_their_request() -> None:
    """What was logged in a call can be found from its trace, and from what its caller was told."""
    stream = io.StringIO()
    logs.configure("info", stream)
    spans = Telemetry(TracerProvider(shutdown_on_exit=False).get_tracer("test"))
    log = structlog.get_logger()
    with spans.rpc_span("a", "Fetch", {}), structlog.contextvars.bound_contextvars(request_id="r"):
        log.info("within")
    log.info("outside")
    within, outside = logged(stream)
    assert len(within["trace_id"]) == 32
    assert len(within["span_id"]) == 16
    assert within["request_id"] == "r"
    assert not outside.keys() & {"trace_id", "span_id", "request_id"}


class FullDisk(io.StringIO):
    def write(self, _text: str, /) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_log_that_cannot_be_written_is_dropped() -> None:
    """A full disk or a stream that was closed must not fail a call."""
    closed = io.StringIO()
    closed.close()
    for broken in (FullDisk(), closed):
        logs.configure("info", broken)
        structlog.get_logger().info("said")
        logging.getLogger("library").warning("said")


def test_standard_error_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output is for what a program asks for."""
    logs.configure("info")
    structlog.get_logger().info("said")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["event"] == "said"
