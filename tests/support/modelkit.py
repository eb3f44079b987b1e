"""The real modelkit, in a process and an environment of its own.

Knows how modelkit is called; nothing of assetd.
"""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.conftest import ROOT
from tests.support.daemon import environment
from tests.support.processes import end

PYTHON: Final = ROOT / ".tools/modelkit/bin/python"
_DRIVER: Final = Path(__file__).with_name("modelkit_driver.py")


class ModelkitError(Exception):
    """modelkit raised; `kind` is the name of its exception's class."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind


@dataclass(frozen=True)
class Fetched:
    """What modelkit's `fetch_asset` answers; of a path that is no asset only that."""

    path: Path
    version: str
    from_cache: bool


class Modelkit:
    """A modelkit process that takes one order after the other."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def push(
        self, what: Path, name: str, version: str, variables: Mapping[str, str], *, new: bool
    ) -> None:
        """Pushes a file or folder as the first version of a new asset, or as a further one.

        Raises:
            ModelkitError: modelkit raised.
        """
        self._order(
            do="new" if new else "update",
            path=str(what),
            name=name,
            version=version,
            variables=variables,
        )

    def push_as_command(
        self,
        what: Path,
        spec: str,
        variables: Mapping[str, str],
        *,
        new: bool,
        bump_major: bool = False,
        now: str = "",
    ) -> str:
        """Does what `modelkit assets new` and `update` do, which choose the version; returns it.

        Raises:
            ModelkitError: modelkit raised.
        """
        return str(
            self._order(
                do="command new" if new else "command update",
                path=str(what),
                spec=spec,
                bump_major=bump_major,
                variables=variables,
                **({"now": now} if now else {}),
            )
        )

    def put_part(
        self, what: Path, name: str, version: str, part: str, variables: Mapping[str, str]
    ) -> None:
        """Does the part of a push that is killed right after it: puts one part, and no more."""
        self._order(
            do="put part",
            path=str(what),
            name=name,
            version=version,
            part=part,
            variables=variables,
        )

    def update_slowly(
        self, what: Path, name: str, version: str, variables: Mapping[str, str], until: Path
    ) -> None:
        """Pushes a further version, and between reading the index and writing it reads a FIFO.

        Raises:
            ModelkitError: modelkit raised.
        """
        self._order(
            do="update slowly",
            path=str(what),
            name=name,
            version=version,
            variables=variables,
            until=str(until),
        )

    def versions(self, name: str, variables: Mapping[str, str]) -> list[str]:
        """Returns what the asset's index lists, in its order.

        Raises:
            ModelkitError: modelkit raised.
        """
        return list(self._order(do="versions", name=name, variables=variables))

    def fetch(
        self,
        spec: str,
        assets_dir: Path,
        variables: Mapping[str, str],
        *,
        force: bool = False,
        folder: Path | None = None,
    ) -> Fetched:
        """Fetches into `assets_dir`; where `variables` name no store, finds it there.

        Raises:
            ModelkitError: modelkit raised.
        """
        assets_dir.mkdir(parents=True, exist_ok=True)
        answer = self._order(
            do="fetch",
            spec=spec,
            assets_dir=str(assets_dir),
            force=force,
            variables=variables,
            **({"folder": str(folder)} if folder else {}),
        )
        return Fetched(
            Path(answer["path"]), answer.get("version", ""), answer.get("from_cache", False)
        )

    def _order(self, **order: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise ModelkitError(answer["error"], answer["message"])
        return answer["value"]


@contextmanager
def running_modelkit(log: Path, within: Sequence[str | Path] = ()) -> Iterator[Modelkit]:
    """Runs a modelkit for the length of the block; what it logs goes to `log`.

    `within` is what starts it, such as a container.
    """
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            # Safe path: beside the driver lies a module called modelkit, which is ours.
            [*within, PYTHON, "-P", _DRIVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment({}),
            bufsize=0,
        ) as process,
    ):
        try:
            yield Modelkit(process)
        finally:
            end(process)
