"""S3, and what speaks its protocol, as a store. Nobody else knows obstore and botocore."""

from assetd_server.store.objects.clients import S3Settings
from assetd_server.store.objects.s3 import open_s3_store

__all__ = ["S3Settings", "open_s3_store"]
