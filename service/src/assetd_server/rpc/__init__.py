"""The wire: messages in, domain calls, messages out.

Decides nothing about assets: besides `app`, the only place for gRPC and
generated code.
"""

import os

# gRPC's core writes lines of its own, as of callers that hang up rudely, where the log has an object
# in each line; what fails it raises besides. It can be told by its environment alone, before it is
# first imported. Who looks for a fault in it may say more.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # noqa: TID251 - written, never read
