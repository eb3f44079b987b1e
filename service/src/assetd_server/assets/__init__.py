"""What the RPCs mean: store and cache brought together.

Knows neither gRPC nor protobuf: a caller is a coroutine, an answer is a value
of `assetd_server.model`, a failure is a class of `assetd_server.errors`.
"""
