"""A store in a directory: `file:///…`, the embedded default."""

from assetd_server.store.local.store import LocalStore

__all__ = ["LocalStore"]
