"""What clients of both colours are made of. Imports no grpc, and makes no call."""

import os
import sys
from pathlib import Path

from assetd import _environment
from assetd._address import find_address
from assetd._holds import Holds
from assetd._local import FastPath
from assetd._retry import RetryPolicy
from assetd.asset import Asset


class BaseClient:
    """A client's arguments, its holds, and its hits without a call."""

    def __init__(
        self,
        address: str | None = None,
        *,
        caller: str | None = None,
        retry: RetryPolicy | None = None,
        assets_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        """Take the arguments of `assetd.Client`."""
        self._address = find_address(address)
        self._caller = caller or f"{Path(sys.argv[0]).name or 'python'}[{os.getpid()}]"
        self._policy = retry or RetryPolicy()
        self._holds = Holds()
        here = _environment.assets_dir() if assets_dir is None else os.fspath(assets_dir)
        self._assets_dir = Path(here).absolute() if here else None
        self._fast = FastPath(str(self._assets_dir), self._holds) if self._assets_dir else None

    @property
    def address(self) -> str:
        """Where the daemon is looked for."""
        return self._address.target

    @property
    def assets_dir(self) -> Path | None:
        """Where versions are looked for without a call; None: nowhere."""
        return self._assets_dir

    def _hit(self, spec: str, hold: bool, *wishes: object) -> Asset | None:
        """Return the asset if it can be had without a call; None if the daemon is to be asked.

        It is, if there is any wish beside a hold.
        """
        if self._fast is None or any(wishes):
            return None
        return self._fast.hit(spec, hold=hold)
