"""A program that holds a version over the socket in its first argument, until it is stopped."""

import sys

import grpc
from assetd.v1.asset_service_pb2 import FetchRequest
from assetd.v1.asset_service_pb2_grpc import AssetServiceStub

options = [("grpc.default_authority", "localhost")]
with grpc.insecure_channel(f"unix:{sys.argv[1]}", options=options) as channel:
    for _ in AssetServiceStub(channel).Fetch(FetchRequest(spec="nlp/ranker", hold=True)):
        pass
