"""Where the exceptions of obstore and botocore end: each becomes a `Refusal`, then a failure."""

from collections.abc import Iterator
from contextlib import contextmanager

import botocore.exceptions
import obstore.exceptions

from assetd_server.store.objects.failures import Refusal, S3Failures

NO_CREDENTIALS_ERRORS = (
    botocore.exceptions.NoCredentialsError,
    botocore.exceptions.PartialCredentialsError,
    botocore.exceptions.CredentialRetrievalError,
    botocore.exceptions.ProfileNotFound,
    botocore.exceptions.SSOError,
    botocore.exceptions.TokenRetrievalError,
)
SDK_ERRORS = (
    obstore.exceptions.BaseError,
    FileNotFoundError,
    botocore.exceptions.BotoCoreError,
    botocore.exceptions.ClientError,
    # Redirected, botocore asks where the bucket is; redirected there too, it asks again.
    RecursionError,
)


@contextmanager
def translated(failures: S3Failures, key: str) -> Iterator[None]:
    """Turn what the SDKs raise into the failures of the contract."""
    try:
        yield
    except SDK_ERRORS as error:
        raise failures.error(key, refusal_of(error)) from error


def refusal_of(error: Exception) -> Refusal:
    """Return what an exception of an SDK says, without its text."""
    if isinstance(error, NO_CREDENTIALS_ERRORS):
        return Refusal.no_credentials()
    if isinstance(error, botocore.exceptions.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        code = error.response.get("Error", {}).get("Code", "")
        # Where the answer has no code botocore repeats the status.
        return Refusal(status, "" if code == str(status) else code)
    if isinstance(error, RecursionError):
        return Refusal.without_answer(type(error).__name__)
    if isinstance(error, botocore.exceptions.BotoCoreError):
        return Refusal.without_answer(f"{type(error).__name__} {error.kwargs.get('error', error)}")
    return Refusal.from_obstore(str(error))
