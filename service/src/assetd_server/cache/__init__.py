"""The cache: ASSETS_DIR, the versions present on this node.

Knows neither the store nor the wire: bytes are handed in, paths are handed out.
"""
