"""Ctrl-C reaches its end, wherever in Python it falls."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import click
import pytest
from assetd import Client
from assetd import __main__ as assetd_main
from assetd.cli import assetd, main
from assetd.cli.interrupts import EXIT_INTERRUPTED, Interrupts, left_to_asyncio

from tests.clients.python.scripted import GUARD_SECONDS, ScriptedDaemon
from tests.conftest import ROOT

# What Python does with an interrupt in a destructor: prints it, and drops it.
DROPPED_ONCE = """
class Late:
    def __del__(self):
        print("ready", flush=True)
        time.sleep(600)

del [Late()][0]
time.sleep(600)
"""
# Ready only where the interrupt is caught: it may come at once.
NEVER_TAKEN = """
said = False
while True:
    try:
        if not said:
            said = True
            print("ready", flush=True)
        time.sleep(600)
    except KeyboardInterrupt:
        print("dropped", flush=True)
"""
LOCKED = """
import threading
mutex = threading.Lock()
mutex.acquire()
said = False
while True:
    try:
        if not said:
            said = True
            print("ready", flush=True)
        mutex.acquire()
    except KeyboardInterrupt:
        print("dropped", flush=True)
"""
# Of a second for each reminder, so that a slow machine sees them in order.
SCRIPT = """
import sys, time
from assetd.cli import interrupts
try:
    with interrupts.Interrupts(remind_seconds=1):
        exec(sys.argv[1])
except KeyboardInterrupt:
    sys.exit(interrupts.EXIT_INTERRUPTED)
"""
REFUSAL = "assetd: did not end when it was interrupted: ended at once\n"


def interrupted(*arguments: str, **variables: str) -> tuple[int, str, str]:
    """Run Python, interrupt it once when it is ready, and return how it ended."""
    with subprocess.Popen(
        [sys.executable, *arguments],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=GUARD_SECONDS)
        return process.returncode, out, err


def test_an_interrupt_that_python_drops_is_repeated() -> None:
    """And what is printed of the first is not the user's concern."""
    assert interrupted("-c", SCRIPT, DROPPED_ONCE) == (EXIT_INTERRUPTED, "", "")


@pytest.mark.parametrize("body", [NEVER_TAKEN, LOCKED])
def test_a_command_that_does_not_end_is_ended(body: str) -> None:
    """After one reminder, wherever it stands."""
    assert interrupted("-c", SCRIPT, body) == (EXIT_INTERRUPTED, "dropped\n" * 2, REFUSAL)


def test_an_interrupt_while_it_starts_is_one_too(tmp_path: Path) -> None:
    """Most of that is imports; this one takes for ever."""
    (tmp_path / "click.py").write_text("print('ready', flush=True)\nimport time\ntime.sleep(600)\n")
    ended = interrupted("-m", "assetd", "list", PYTHONPATH=str(tmp_path))
    assert ended == (EXIT_INTERRUPTED, "", "")
    assert assetd_main.EXIT_INTERRUPTED == EXIT_INTERRUPTED


def test_the_program_starts_there() -> None:
    """The script that is installed is no other."""
    project = tomllib.loads((ROOT / "clients/python/pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"assetd": f"{assetd_main.__name__}:{assetd_main.main.__name__}"}


def test_nothing_stays_behind() -> None:
    """A program that runs commands in its own process finds its signals and hooks as they were."""
    before = signal.getsignal(signal.SIGINT), sys.unraisablehook, threading.excepthook
    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:
        signal.raise_signal(signal.SIGINT)
    assert interrupts.came
    assert (signal.getsignal(signal.SIGINT), sys.unraisablehook, threading.excepthook) == before
    assert signal.set_wakeup_fd(-1) == -1
    assert threading.active_count() == threads


def test_asyncio_tidies_up() -> None:
    """What it runs is cancelled, and may wait for something in the end."""
    tidied: list[str] = []

    async def work() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(GUARD_SECONDS)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            tidied.append("all")
            raise

    with pytest.raises(KeyboardInterrupt), Interrupts(), left_to_asyncio():
        asyncio.run(work())
    assert tidied == ["all"]


def test_what_ignores_interrupts_goes_on_ignoring_them() -> None:
    """As a shell has it for what runs in the background, and what `assetd run` becomes there."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            signal.raise_signal(signal.SIGINT)
            with left_to_asyncio():
                signal.raise_signal(signal.SIGINT)
        assert not interrupts.came
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_run_commands_too() -> None:
    """They get no signals, and ask for none."""
    codes: list[int] = []

    def run() -> None:
        with left_to_asyncio():
            codes.append(main(["--version"]))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert codes == [0]


@click.command("in-a-lock")
@click.option("--interrupt", is_flag=True)
def in_a_lock(*, interrupt: bool) -> NoReturn:
    """What is left of Ctrl-C that comes between a condition's lock and its bookkeeping."""
    try:
        if interrupt:
            signal.raise_signal(signal.SIGINT)
    finally:
        threading.Lock().release()
    raise AssertionError


@pytest.fixture
def command() -> Iterator[str]:
    """The name of a command whose lock is in neither state."""
    assetd.add_command(in_a_lock)
    yield "in-a-lock"
    del assetd.commands["in-a-lock"]


def test_an_interrupt_inside_of_a_lock_is_one_all_the_same(command: str) -> None:
    """Any other such failure is a defect, and told as one."""
    assert main([command, "--interrupt"]) == EXIT_INTERRUPTED
    with pytest.raises(RuntimeError):
        main([command])


def test_a_channel_that_does_not_close_keeps_nobody(
    daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an interrupt left in gRPC is left to a thread."""
    closing, may_close = threading.Event(), threading.Event()
    monkeypatch.setattr("assetd.client.CLOSE_SECONDS", 0.01)

    def close(_: object) -> None:
        closing.set()
        assert may_close.wait(GUARD_SECONDS)

    monkeypatch.setattr("assetd._connection.Connection.close", close)
    client = Client(daemon.address)
    client.status()
    with pytest.raises(KeyboardInterrupt), client:
        raise KeyboardInterrupt
    assert closing.wait(GUARD_SECONDS)
    may_close.set()
