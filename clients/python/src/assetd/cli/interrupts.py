"""Ctrl-C, seen to its end.

Python raises an interrupt wherever the main thread just is. In a callback of the import system, in
a destructor or in gRPC's core it is printed and dropped, and between a lock and its bookkeeping it
leaves what nobody will release: the command would go on, or stand still, as if nobody had asked.
"""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType, TracebackType
from typing import NoReturn, Self

EXIT_INTERRUPTED = 130
# A push that was interrupted has three seconds to tell the daemon.
REMIND_SECONDS = 5.0


class Interrupts:
    """While it is entered, an interrupt that does not end the command is repeated, once.

    After `remind_seconds`; as long after that, the process ends at once. On any other thread than
    the main one, which gets no signals, it does nothing; nor where they are ignored.
    """

    def __init__(self, remind_seconds: float = REMIND_SECONDS) -> None:
        self._remind_seconds = remind_seconds
        self._undo = ExitStack()
        self.came = False

    def __enter__(self) -> Self:
        if can_be_interrupted():
            self._begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._undo.close()

    def _begin(self) -> None:
        signals, signalled = os.pipe()
        os.set_blocking(signalled, False)
        watching = threading.Thread(
            target=self._watch, args=(signals, threading.get_ident()), daemon=True
        )
        watching.start()
        self._undo.callback(os.close, signals)
        self._undo.callback(watching.join)
        self._undo.callback(os.close, signalled)
        # Told by C, even where the main thread never gets to run Python again.
        wakeup_fd = signal.set_wakeup_fd(signalled, warn_on_full_buffer=False)
        self._undo.callback(signal.set_wakeup_fd, wakeup_fd)
        self._undo.callback(set_hooks, sys.unraisablehook, threading.excepthook)
        handler = signal.signal(signal.SIGINT, self._interrupt)
        self._undo.callback(signal.signal, signal.SIGINT, handler)

    def _interrupt(self, _: int, __: FrameType | None) -> NoReturn:
        self.came = True
        # What breaks from now on, in gRPC's threads for one, is the interrupt's doing.
        set_hooks(say_nothing, say_nothing)
        raise KeyboardInterrupt

    def _watch(self, signals: int, main_thread: int) -> None:
        # There is nothing more to read once the other end is closed.
        while came := os.read(signals, 64):
            if signal.SIGINT in came:
                break
        else:
            return
        if self._ends_in_time(signals):
            return
        signal.pthread_kill(main_thread, signal.SIGINT)
        if self._ends_in_time(signals):
            return
        with suppress(OSError):
            os.write(2, b"assetd: did not end when it was interrupted: ended at once\n")
        os._exit(EXIT_INTERRUPTED)

    def _ends_in_time(self, signals: int) -> bool:
        end = time.monotonic() + self._remind_seconds
        while (left := end - time.monotonic()) > 0:
            readable, _, _ = select.select([signals], [], [], left)
            if readable and not os.read(signals, 64):
                return True
        return False


def can_be_interrupted() -> bool:
    """Tell whether this thread gets interrupts.

    A shell has those that it runs in the background ignore them: Ctrl-C is for who stands in front.
    """
    if threading.current_thread() is not threading.main_thread():
        return False
    return signal.getsignal(signal.SIGINT) is not signal.SIG_IGN


@contextmanager
def left_to_asyncio() -> Iterator[None]:
    """Have an interrupt cancel what asyncio runs in the block, so that it can tidy up.

    asyncio sees to that only where the handler is Python's own.
    """
    if not can_be_interrupted():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def set_hooks(
    unraisable: Callable[["sys.UnraisableHookArgs"], object],
    excepthook: Callable[[threading.ExceptHookArgs], object],
) -> None:
    """Have these told of failures that nobody can catch."""
    sys.unraisablehook, threading.excepthook = unraisable, excepthook


def say_nothing(_: object) -> None:
    """Take the place of what prints a failure that nobody can catch."""
