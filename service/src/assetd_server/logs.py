"""The log: one JSON object a line on standard error, ours and every library's alike.

Knows no module of the service but `telemetry`. `configure` is called once, by `app`; everybody
else says `structlog.get_logger()` and passes fields by name. Each line has `time` (UTC), `level`,
`event` and, inside a span, `trace_id` and `span_id`.
"""

import logging
import sys
import threading
from typing import Final, TextIO, cast

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from assetd_server import telemetry

LEVELS: Final = ("debug", "info", "warning", "error")

_SECRET_WORDS = ("authorization", "credential", "password", "secret", "token")


def configure(level: str, stream: TextIO | None = None) -> None:
    """Log `level` and above to `stream`, by default standard error. May be called again.

    What libraries log is shown from `warning` on. A line that cannot be written is dropped: no call
    fails for its log's sake.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]
    lines = cast("TextIO", _Lines(stream or sys.stderr))
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *_PROCESSORS, _RENDER],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(lines),
        # Loggers are made at import, before this is called: they must not keep the defaults.
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(lines)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *_PROCESSORS],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _RENDER],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)


class _Lines:
    """What both logging libraries write to: whole lines, and never an exception."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def write(self, line: str) -> None:
        try:
            with self._lock:
                self._stream.write(line)
                self._stream.flush()
        except (OSError, ValueError):
            # A full disk, a closed pipe: there is no place left to say so.
            pass

    def flush(self) -> None:
        """Each line has been flushed already."""


def _add_trace(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    if ids := telemetry.current_trace():
        event["trace_id"], event["span_id"] = ids
    return event


def _mask_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Mask what a field's name gives away as secret: the last line of defence, not the first."""
    for name in event:
        if any(word in name.lower() for word in _SECRET_WORDS):
            event[name] = "***"
    return event


_PROCESSORS: list[Processor] = [
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    _add_trace,
    _mask_secrets,
    # Plain text: the frames' variables, which may hold secrets, are not in it.
    structlog.processors.format_exc_info,
]
_RENDER = structlog.processors.JSONRenderer()
