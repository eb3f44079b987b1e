"""Fields that a caller of a later release sets, and this one does not know.

gRPC drops them without a word; whoever relies on one would get something else than it asked for.
"""

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet  # type: ignore[import-not-found]

from assetd_server.errors import NotBuiltError


def require_built(message: Message) -> None:
    """Check that the message holds nothing that this release does not know.

    Looks at its own fields only: messages inside of it are checked by who reads them.

    Raises:
        NotBuiltError: it does. Its metadata name message and number, as there is no name here.
    """
    unknown = UnknownFieldSet(message)
    if len(unknown):
        raise NotBuiltError(
            "field {number} of {message} comes in a later release of assetd: leave it out, or"
            " upgrade the daemon",
            field=f"{message.DESCRIPTOR.full_name}.{unknown[0].field_number}",
            number=unknown[0].field_number,
            message=message.DESCRIPTOR.full_name,
        )
