"""The messages and stubs of `assetd.v1`, generated from `protos/assetd/v1` by `tools/generate`.

Only this file is written by hand. Nothing here knows the helper: `assetd` builds on it.
"""
