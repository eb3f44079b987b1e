"""What surrounds a runner: a store that can be told to misbehave, and daemons over it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from assetd import Client

from tests.support.daemon import EAGER, Daemon, Daemons
from tests.support.http_proxy import Fate, JudgingProxy, Refusal, Request
from tests.support.ports import LOOPBACK, free_port
from tests.support.tcp_proxy import CountingProxy
from tests.support.versitygw import S3Server, versitygw

BUCKET: Final = "models"


@dataclass
class Store:
    """A real S3 server, and a proxy before it that holds, refuses and counts requests.

    A request is named by a part of its path, such as `ranker/0.0`.
    """

    server: S3Server
    proxy: JudgingProxy
    _holding: list[tuple[bool, str]] = field(default_factory=list)
    _held: list[Request] = field(default_factory=list)
    _refusing: dict[str, Refusal] = field(default_factory=dict)
    _seen: list[str] = field(default_factory=list)
    _prefixes: int = 0

    def __post_init__(self) -> None:
        self.proxy.judge = self._judge

    @property
    def variables(self) -> dict[str, str]:
        """The variables with which a daemon reaches it, through the proxy."""
        return self.server.environment | {"S3_ENDPOINT": f"http://{LOOPBACK}:{self.proxy.port}"}

    def new_prefix(self) -> str:
        """Return the URL of a store that is empty."""
        self._prefixes += 1
        return f"s3://{BUCKET}/{self._prefixes}"

    def hold_reads(self, part: str) -> None:
        """Let all reads of such objects wait, until `let_go`."""
        self._holding.append((False, part))

    def hold_writes(self, part: str) -> None:
        """Let all changes of such objects wait, until `let_go`."""
        self._holding.append((True, part))

    @property
    def holds_one(self) -> bool:
        """Whether a request waits."""
        return bool(self._held)

    def let_go(self) -> None:
        """Answer what is held, and hold nothing more."""
        self._holding.clear()
        for request in self._held:
            self.proxy.let_go(request)
        self._held.clear()

    def refuse(self, part: str, status: int, code: str) -> None:
        """Answer such requests by an error, until `calm_down`."""
        self._refusing[part] = Refusal(status, code)

    def calm_down(self) -> None:
        """Pass on everything again."""
        self._refusing.clear()
        self.let_go()

    def count_reads(self, part: str) -> int:
        """Return how many reads of such objects there were, whatever became of them."""
        return sum(part in target for target in self._seen)

    def put(self, key: str, data: bytes) -> None:
        """Write an object as somebody else would; `key` begins with the store's prefix."""
        client = self.server.client()
        client.put_object(Bucket=BUCKET, Key=key, Body=data)
        client.close()

    def get(self, key: str) -> bytes:
        """Return an object's bytes."""
        client = self.server.client()
        data: bytes = client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        client.close()
        return data

    def _judge(self, request: Request) -> Fate | Refusal:
        for part, refusal in self._refusing.items():
            if part in request.target:
                return refusal
        if request.method == "GET":
            self._seen.append(request.target)
        for holds_changes, part in self._holding:
            if holds_changes == request.changes and part in request.target:
                self._held.append(request)
                return Fate.HOLD
        return Fate.PASS


@contextmanager
def running_store(folder: Path) -> Iterator[Store]:
    """Run a store for the length of the block."""
    with versitygw(folder) as server:
        server.make_bucket(BUCKET)
        with JudgingProxy(server.port) as proxy:
            store = Store(server, proxy)
            try:
                yield store
            finally:
                store.calm_down()


@dataclass
class World:
    """A daemon over a store, and how a runner reaches it.

    Attributes:
        address: what runners dial: the socket, or a port that can be cut.
        prefix: what the keys of its objects begin with, `/` included.
        cutter: what cuts the connections; None where the socket is dialled.
    """

    store: Store
    daemon: Daemon
    address: str
    prefix: str
    cutter: CountingProxy | None = None

    def client(self) -> Client:
        """Return a client of the suite's own, which its user closes; it waits for a daemon."""
        return self.daemon.client(EAGER)


@contextmanager
def running_world(
    store: Store, daemons: Daemons, variables: dict[str, str] | None = None, *, cut: bool = False
) -> Iterator[World]:
    """Run a daemon over an empty part of the store, for the length of the block.

    Args:
        store: what it is over.
        daemons: ends it.
        variables: set over those of the store; `ASSETD_STORE` may be `none`.
        cut: runners reach it through a port whose connections can be cut.
    """
    url = store.new_prefix()
    settings: dict[str, Any] = {
        **store.variables,
        "ASSETD_STORE": url,
        "ASSETD_DRAIN_GRACE": "100ms",
        # The store is one that keeps its promises; to try it takes a second or two.
        "ASSETD_PUSH_SINGLE_PUSHER": "true",
        **(variables or {}),
    }
    daemon = daemons.prepare(variables=settings)
    prefix = url.removeprefix(f"s3://{BUCKET}/") + "/"
    with ExitStack() as stack:
        cutter = None
        if cut:
            port = free_port()
            daemon.listen_also(f"{LOOPBACK}:{port}")
            cutter = stack.enter_context(CountingProxy(port))
        daemon.start()
        address = f"{LOOPBACK}:{cutter.port}" if cutter else daemon.address
        yield World(store, daemon, address, prefix, cutter)
