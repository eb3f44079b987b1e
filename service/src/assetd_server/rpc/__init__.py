"""The wire: messages in, domain calls, messages out.

Decides nothing about assets: besides `app`, the only place for gRPC and
generated code.
"""
