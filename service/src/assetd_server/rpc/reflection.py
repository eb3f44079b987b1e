"""Server reflection for grpcurl and its like: the library's, which also finds methods here."""

from typing import Any

import grpc.aio
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection


class _Descriptors:
    """protobuf's descriptors, which finds the file of every symbol except a method's."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802 - protobuf's
        """Return the file that declares `symbol`, also `package.Service.Method`.

        Raises:
            KeyError: no file that is loaded does.
        """
        try:
            file: FileDescriptor = self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            name, _, method = symbol.rpartition(".")
            service = self._pool.FindServiceByName(name)
            if method not in service.methods_by_name:
                raise
            file = service.file
        return file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)


def add_reflection(service_names: tuple[str, ...], server: grpc.aio.Server) -> None:
    """Let callers of `server` ask what the named services, and reflection itself, look like."""
    descriptors: Any = _Descriptors(descriptor_pool.Default())  # type: ignore[no-untyped-call]
    shown = (*service_names, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(shown, server, descriptors)
