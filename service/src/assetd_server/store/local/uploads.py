"""Multipart uploads of the store in a directory: a sparse file that the parts are written into.

Blocking, called from threads only. Whoever writes a part shares the lock of the file; whoever
completes or aborts has it alone. So a part that comes late, from a frozen thread or process, finds
the file gone, or shown under its key, and never writes into an object that readers see.

Which key an upload is for stands beside its file, as the target of a symbolic link: that is written
and read in one call, and nobody ever follows it.
"""

import errno
import fcntl
import os
import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from assetd_server.store.base import (
    Buffer,
    CopySource,
    EtagMismatchError,
    KeyExistsError,
    ObjectInfo,
    UnfinishedUpload,
    Upload,
    UploadNotFoundError,
    views_of,
)
from assetd_server.store.local.files import LocalFiles, object_info, write_at
from assetd_server.store.local.root import WORK_FOLDER, LocalRoot, is_absence

_UPLOAD_ID = re.compile(r"[0-9a-f]{32}")
_LABEL_ENDING = ".key"
# Whoever puts something in the way again is a pusher that was given up, and does it once.
_REPLACE_ATTEMPTS = 3


class LocalUploads:
    """The uploads under way in a directory, each until it is completed or aborted."""

    def __init__(self, root: LocalRoot, files: LocalFiles) -> None:
        self._root = root
        self._files = files

    def start(self, key: str, for_copies: bool) -> Upload:
        """Begin an upload; see `ObjectStore.start_upload`."""
        with self._root.failures(key):
            upload = Upload(key, uuid.uuid4().hex, for_copies)
            path = self._root.work_path("uploads", upload.upload_id)
            # First, and removed last: no upload is ever without its key.
            self._label(upload).symlink_to(key)
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
            return upload

    def write_part(self, upload: Upload, offset: int, data: Sequence[Buffer]) -> str:
        """Write a part at its place, durably, and return its receipt."""
        end = offset
        with self._open_for_part(upload) as descriptor:
            for view in views_of(data):
                write_at(descriptor, view, end)
                end += view.nbytes
        return f"{offset}+{end - offset}"

    def copy_part(self, upload: Upload, offset: int, length: int, source: CopySource) -> str:
        """Copy a range of another object to its place, durably, and return its receipt."""
        found = self._files.open(source.key)
        if found.info.etag != source.etag:
            raise EtagMismatchError(source.key)
        with self._open_for_part(upload) as descriptor:
            found.copy_to(descriptor, offset, length)
        # Somebody else may write in place, as modelkit does.
        if not found.is_unchanged():
            raise EtagMismatchError(source.key)
        return f"{offset}+{length}"

    @contextmanager
    def _open_for_part(self, upload: Upload) -> Iterator[int]:
        """Open the upload's file; what the block wrote is durable after it."""
        key = upload.key
        with self._root.failures(key), self._locked(upload, fcntl.LOCK_SH) as descriptor:
            # Shown already, by a process that died before it could remove the name here.
            if os.fstat(descriptor).st_nlink > 1:
                raise UploadNotFoundError(key)
            yield descriptor
            # Here and not at the end alone: completing a large object would take minutes.
            os.fdatasync(descriptor)

    def create(self, upload: Upload, receipts: Sequence[str]) -> ObjectInfo:
        """Show the upload where the key is absent; see `ObjectStore.create_from_upload`."""
        key, path = upload.key, self._path(upload)
        with self._root.failures(key), self._locked(upload, fcntl.LOCK_EX) as descriptor:
            if self._is_shown(key, descriptor):
                return self._finish(upload, descriptor)
            self._seal(descriptor, receipts)
            self._files.place(key, lambda target: target.hardlink_to(path))
            self._forget(upload)
            return object_info(key, os.fstat(descriptor))

    def put(self, upload: Upload, receipts: Sequence[str], within: str = "") -> ObjectInfo:
        """Show the upload over whatever is there; see `ObjectStore.put_from_upload`."""
        key, path = upload.key, self._path(upload)
        with self._root.failures(key), self._locked(upload, fcntl.LOCK_EX) as descriptor:
            # A rename between two names of one file does nothing, and would leave both.
            if self._is_shown(key, descriptor):
                return self._finish(upload, descriptor)
            self._seal(descriptor, receipts)
            info = self._replace(key, path, within)
            self._forget(upload)
            return info

    def _replace(self, key: str, staged: Path, within: str) -> ObjectInfo:
        for _ in range(_REPLACE_ATTEMPTS):
            if within:
                self._files.clear_way(key, within)
            with suppress(KeyExistsError), self._root.key_lock(key):
                return self._files.replace(key, staged)
        raise self._root.unavailable(key, "another object stands above or below it")

    def abort(self, upload: Upload) -> None:
        """Drop an upload; see `ObjectStore.abort_upload`."""
        with (
            self._root.failures(upload.key),
            suppress(UploadNotFoundError),
            self._locked(upload, fcntl.LOCK_EX),
        ):
            self._forget(upload)

    def unfinished(self, prefix: str) -> list[UnfinishedUpload]:
        """Return the uploads under way; see `ObjectStore.uploads`."""
        with self._root.failures(prefix):
            self._root.require(prefix)
            labels = sorted(self._root.path(f"{WORK_FOLDER}/uploads").glob(f"*{_LABEL_ENDING}"))
            found = [_unfinished(label) for label in labels]
            return [one for one in found if one is not None and one.upload.key.startswith(prefix)]

    @contextmanager
    def _locked(self, upload: Upload, lock: int) -> Iterator[int]:
        path = self._path(upload)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            self._root.require(upload.key)
            raise UploadNotFoundError(upload.key) from None
        try:
            self._root.take_lock(upload.key, descriptor, lock)
            # Somebody else may have had the lock meanwhile, and have completed or aborted.
            if not _is_same_file(path, descriptor):
                raise UploadNotFoundError(upload.key)
            yield descriptor
        finally:
            os.close(descriptor)

    def _path(self, upload: Upload) -> Path:
        # The id may come out of a claim in the bucket: it must not lead elsewhere.
        if not _UPLOAD_ID.fullmatch(upload.upload_id):
            raise UploadNotFoundError(upload.key)
        return self._root.path(f"{WORK_FOLDER}/uploads/{upload.upload_id}")

    def _label(self, upload: Upload) -> Path:
        path = self._path(upload)
        return path.with_name(path.name + _LABEL_ENDING)

    def _forget(self, upload: Upload) -> None:
        for path in (self._path(upload), self._label(upload)):
            with suppress(FileNotFoundError):
                path.unlink()

    def _is_shown(self, key: str, descriptor: int) -> bool:
        """Tell whether the key shows this upload already: somebody died on the last step."""
        return _is_same_file(self._root.path(key), descriptor)

    def _seal(self, descriptor: int, receipts: Sequence[str]) -> None:
        os.ftruncate(descriptor, _total_bytes(receipts))
        self._files.stamp(descriptor)
        os.fsync(descriptor)

    def _finish(self, upload: Upload, descriptor: int) -> ObjectInfo:
        """Do what is left to do for an upload that its key shows already."""
        self._root.sync_folders(upload.key)
        self._forget(upload)
        return object_info(upload.key, os.fstat(descriptor))


def _unfinished(label: Path) -> UnfinishedUpload | None:
    """Return the upload whose key the label tells; None where it has ended, or ends just now.

    Also where it is no label: somebody else's file, or a link to what no key can be.
    """
    try:
        label.with_suffix("").lstat()
        key, began = str(label.readlink()), label.lstat().st_mtime
        key.encode()
    except (FileNotFoundError, UnicodeEncodeError):
        return None
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return None
    upload = Upload(key=key, upload_id=label.with_suffix("").name)
    return UnfinishedUpload(upload, datetime.fromtimestamp(began, UTC))


def _is_same_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except OSError as error:
        if not is_absence(error):
            raise
        return False


def _total_bytes(receipts: Sequence[str]) -> int:
    """Return the length of the object whose parts have these receipts, each `offset+size`."""
    end = 0
    for receipt in receipts:
        offset, size_bytes = map(int, receipt.split("+"))
        if offset != end:
            raise ValueError(f"a part begins at {offset} where the one before it ends at {end}")
        end += size_bytes
    return end
