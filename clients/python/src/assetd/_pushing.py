"""The calls that create versions: of files that this process reads, or that the daemon finds."""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from assetd._base import BaseClient
from assetd._globs import Globs
from assetd._retry import Deadline
from assetd._source import list_source
from assetd.asset import PushedVersion, PushProgress
from assetd.errors import InvalidFieldError

if TYPE_CHECKING:
    from assetd._connection import Connection
    from assetd._content import Content
    from assetd._progress import PushMeter
    from assetd.v1.asset_service_pb2 import PushHeader, PushResponse

# Below ASSETS_DIR.
STAGED = Path(".assetd", "push")


class Pushing(BaseClient):
    """The part of `assetd.Client` that pushers use."""

    def _connect(self) -> "Connection":
        raise NotImplementedError

    def push(
        self,
        path: str | os.PathLike[str],
        spec: str,
        *,
        new: bool = False,
        update: bool = False,
        bump_major: bool = False,
        labels: Mapping[str, str] | None = None,
        exclude: Iterable[str] = (),
        validate_only: bool = False,
        push_id: str | None = None,
        on_progress: Callable[[PushProgress], object] | None = None,
        on_event: "Callable[[PushResponse], object] | None" = None,
        timeout: float | None = None,
    ) -> PushedVersion:
        """Create one new version of an asset from a file or folder, and return the version.

        All or nothing: when this returns, the version is durable and listed; when it raises,
        nothing was created, unless the daemon was already committing. The source is read twice,
        once to hash it and once for what the store lacks, and must not change meanwhile. A cut
        push is continued where it was.

        Args:
            path: a plain file, or a folder of plain files and folders.
            spec: `name` for the next version, `name:1` for the next 1.x, `name:1.2` for exactly
                that.
            new: the asset must not exist yet.
            update: the asset must exist.
            bump_major: raise the major number, for a spec without a version.
            labels: free keys and values, kept with the version for ever.
            exclude: globs of files in the folder that are not pushed, as for `fetch`. What they
                match is not looked at, whatever it is; nor is a folder of which `folder/**` leaves
                nothing.
            validate_only: check all that can be checked, and create nothing. Returns the version
                that would be created, and whether it is there already.
            push_id: the UUID4 of this push, in its canonical form; by default a new one. Another
                call with the same one, after whatever failure, continues this push or returns its
                answer.
            on_progress: gets how far the push is, hashing included. What it raises ends the push.
            on_event: gets every event of the push.
            timeout: seconds for the push, hashing included.

        Raises:
            UnsupportedFileError: the source holds a symlink, hard link, device, FIFO or socket.
            InvalidPartError: it holds an empty folder, a name that is not UTF-8, or nothing that
                is not excluded.
            InvalidFieldError: `exclude` for a file; a label or `push_id` that is none.
            SourceChangedError: it changed meanwhile.
            VersionExistsError: the version exists with other content.
            AssetExistsError, AssetNotFoundError: what `new` or `update` demands is not so.
            PushInProgressError: somebody else is pushing this version.
            DaemonUnavailableError: no daemon answers.
            AssetdError: any of the other reasons of the contract.
            OSError: the source cannot be read.
            ValueError: both `new` and `update`.
        """
        from assetd import _content, _convert, _hashing, _progress
        from assetd.v1 import asset_pb2

        deadline = Deadline(timeout)
        header = _convert.push_header(
            spec,
            new=new,
            update=update,
            bump_major=bump_major,
            labels=labels,
            validate_only=validate_only,
            push_id=push_id,
        )
        source = list_source(Path(path), Globs(exclude))
        meter = _progress.PushMeter(source.total_bytes, on_progress, on_event)

        def note(hashed_bytes: int) -> None:
            if deadline.passes_within(0):
                raise deadline.error()
            self._connect()  # raises when the client was closed meanwhile
            meter.hashed(hashed_bytes)

        digests = _hashing.hash_source(source, note)
        is_folder = source.is_directory
        header.kind = asset_pb2.ASSET_KIND_DIRECTORY if is_folder else asset_pb2.ASSET_KIND_FILE
        header.digest = digests.digest
        content = _content.LocalContent(source, digests, is_sent=not validate_only)
        return self._push(header, content, meter, deadline)

    def push_staged(
        self,
        path: str | os.PathLike[str],
        spec: str,
        *,
        new: bool = False,
        update: bool = False,
        bump_major: bool = False,
        labels: Mapping[str, str] | None = None,
        validate_only: bool = False,
        push_id: str | None = None,
        on_progress: Callable[[PushProgress], object] | None = None,
        on_event: "Callable[[PushResponse], object] | None" = None,
        timeout: float | None = None,
    ) -> PushedVersion:
        """Create one new version from what lies below `ASSETS_DIR/.assetd/push` on the node.

        No byte travels to the daemon: it reads the file or folder where it lies, which must not
        change until the push has ended. `path` is relative to that folder, or absolute and below
        it, as the daemon or this client's `assets_dir` has it; all else is as for `push`.

        Raises:
            InvalidFieldError: the path is absolute and not below that folder, or nothing lies
                there.
            SourceNotAllowedError: the path leads elsewhere.
            AssetdError, ValueError: as `push`.
        """
        from assetd import _convert

        deadline = Deadline(timeout)
        header = _convert.push_header(
            spec,
            new=new,
            update=update,
            bump_major=bump_major,
            labels=labels,
            validate_only=validate_only,
            push_id=push_id,
        )
        header.staged_path = self._below_staged(Path(path), deadline)
        return self._push_found(header, on_progress, on_event, deadline)

    def push_from(
        self,
        uri: str,
        spec: str,
        *,
        new: bool = False,
        update: bool = False,
        bump_major: bool = False,
        labels: Mapping[str, str] | None = None,
        validate_only: bool = False,
        push_id: str | None = None,
        on_progress: Callable[[PushProgress], object] | None = None,
        on_event: "Callable[[PushResponse], object] | None" = None,
        timeout: float | None = None,
    ) -> PushedVersion:
        """Create one new version from where a URI points, and return the version.

        The daemon reads it; no byte comes from here. `uri` is `s3://...` or `file://...`, among
        those that the daemon's operator allows; all else is as for `push`.

        Raises:
            SourceNotAllowedError: the operator does not allow it.
            AssetdError, ValueError: as `push`.
        """
        from assetd import _convert

        deadline = Deadline(timeout)
        header = _convert.push_header(
            spec,
            new=new,
            update=update,
            bump_major=bump_major,
            labels=labels,
            validate_only=validate_only,
            push_id=push_id,
        )
        header.source_uri = uri
        return self._push_found(header, on_progress, on_event, deadline)

    def _push_found(
        self,
        header: "PushHeader",
        on_progress: Callable[[PushProgress], object] | None,
        on_event: "Callable[[PushResponse], object] | None",
        deadline: Deadline,
    ) -> PushedVersion:
        from assetd import _content, _progress

        meter = _progress.PushMeter(None, on_progress, on_event)
        return self._push(header, _content.FoundContent(), meter, deadline)

    def _push(
        self, header: "PushHeader", content: "Content", meter: "PushMeter", deadline: Deadline
    ) -> PushedVersion:
        from assetd import _convert, _push

        push = _push.Push(self._connect(), header, content, meter)
        return _convert.pushed_version(push.run(deadline), header.push_id)

    def _below_staged(self, path: Path, deadline: Deadline) -> str:
        """Return the path below the folder of what is staged."""
        if not path.is_absolute():
            return str(path)
        if self._assets_dir is not None and path.is_relative_to(self._assets_dir / STAGED):
            return str(path.relative_to(self._assets_dir / STAGED))
        folder = self._staged_folder(deadline)
        if not path.is_relative_to(folder):
            raise InvalidFieldError(
                f"{path} is not below {folder}, where the daemon looks for it",
                metadata={"field": "header.staged_path", "staged_path": str(path)},
            )
        return str(path.relative_to(folder))

    def _staged_folder(self, deadline: Deadline) -> Path:
        """Ask the daemon where it looks."""
        from assetd.v1.cache_service_pb2 import GetCacheStatusRequest

        connection = self._connect()
        status = connection.ask(
            connection.cache.GetCacheStatus, GetCacheStatusRequest(), deadline.remaining_seconds()
        )
        return Path(status.assets_dir, STAGED)
