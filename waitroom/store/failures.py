"""What an error of redis-py tells: whether a primary may have moved, what to say of it, what it came of."""

from __future__ import annotations

import asyncio
import ssl
from typing import TypeVar

from redis import exceptions

_Error = TypeVar("_Error", bound=BaseException)


def is_doubtful(error: BaseException) -> bool:
    """Whether an error may mean that the primary is somewhere else now. A call that took too long is cancelled."""
    if isinstance(error, exceptions.ResponseError):
        return isinstance(error, exceptions.ReadOnlyError | exceptions.ClusterDownError) or str(error).startswith(
            "NOREPLICAS"
        )
    return isinstance(error, exceptions.RedisError | OSError | TimeoutError | asyncio.CancelledError)


def describe(error: BaseException) -> str:
    """What went wrong with a connection or a command, in a few words that name no user and quote no argument."""
    if isinstance(error, exceptions.NoPermissionError):
        return "the user may not do that"
    if isinstance(error, exceptions.AuthenticationError):
        return "user or password is wrong"
    certificate = cause(error, ssl.SSLCertVerificationError)
    if certificate is not None:
        return f"its certificate is not accepted: {certificate.verify_message}"
    if cause(error, ssl.SSLError) is not None:
        return "no TLS connection comes about"
    if isinstance(error, exceptions.ResponseError):
        return str(error).split(" script:")[0]
    return type(error).__name__


def cause(error: BaseException | None, kind: type[_Error]) -> _Error | None:
    """The error, or whichever it was raised because of, if it is of that kind."""
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error
