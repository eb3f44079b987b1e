"""The unix socket that callers find: shown whole, never stolen, and taken away only if it is ours.

gRPC by itself would silently take a socket from a daemon that is alive, show it before its mode is
right, and at the end delete whatever stands at the path by then. So it gets a name of its own
beside the final one, and the final one is ours. Knows neither gRPC nor what listens.
"""

import socket
import stat
from pathlib import Path

from assetd_server.listen import ListenError

_DIRECTORY_MODE = 0o750
_SOCKET_MODE = 0o660
# A daemon that does not accept within that time is busy, not dead.
_PROBE_TIMEOUT_SECONDS = 1.0


class SocketFile:
    """One path at which callers find the daemon."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode: tuple[int, int] | None = None

    @property
    def birth_path(self) -> Path:
        """Where the socket is to be bound: beside its path, and no longer than that."""
        name = self._path.name
        return self._path.with_name(name[:-1] + ("-" if name.endswith("~") else "~"))

    def prepare(self) -> None:
        """Make the directory, and find the path free or left behind by a daemon that is gone.

        Raises:
            ListenError: a daemon listens there, or something that is no socket stands there.
        """
        try:
            self._make_directory()
            mode = self._path.lstat().st_mode
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._error(error) from error
        if not stat.S_ISSOCK(mode):
            raise ListenError(f"{self._path} is no socket: move it away, or listen elsewhere")
        if self._is_alive():
            raise ListenError(
                f"another daemon listens on {self._path}: stop it, or listen elsewhere"
            )

    def show(self) -> None:
        """Put the bound socket where callers look for it, over a dead one, in one step.

        Raises:
            ListenError: the directory does not let us.
        """
        try:
            self.birth_path.chmod(_SOCKET_MODE)
            self._inode = _inode(self.birth_path)
            self.birth_path.rename(self._path)
        except OSError as error:
            self.birth_path.unlink(missing_ok=True)
            raise self._error(error) from error

    def remove(self) -> None:
        """Take the socket away, unless it is somebody else's by now. Idempotent."""
        try:
            if self._inode is not None and _inode(self._path) == self._inode:
                self._path.unlink()
        except OSError:
            # Gone already, or the directory is: nobody finds it there.
            pass
        self._inode = None

    def _make_directory(self) -> None:
        directory = self._path.parent
        if directory.is_dir():
            # Its mode is its maker's business.
            return
        directory.mkdir(parents=True)
        directory.chmod(_DIRECTORY_MODE)

    def _is_alive(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(_PROBE_TIMEOUT_SECONDS)
            try:
                probe.connect(str(self._path))
            except (ConnectionRefusedError, FileNotFoundError):
                return False
            except OSError:
                # It may be full, or not for us; it is not certainly dead.
                return True
        return True

    def _error(self, error: OSError) -> ListenError:
        return ListenError(
            f"cannot listen on {self._path} ({error.strerror}): check its directory's owner and"
            " mode, or listen elsewhere"
        )


def _inode(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino
