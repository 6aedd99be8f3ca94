"""What an error of redis-py tells: which of ours it becomes, whether a primary may have moved, what to say of it.

redis-py                                     waitroom
OutOfMemoryError, MISCONF                    Full
WRONGTYPE, other ResponseError               RoomBroken
connection, time-out, BUSY, LOADING,         Unavailable
READONLY, MASTERDOWN, NOREPLICAS,
CLUSTERDOWN, MOVED, NOPERM
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from redis import exceptions

from waitroom.errors import Full, RoomBroken, Unavailable

_Error = TypeVar("_Error", bound=BaseException)


#: Beginnings of error replies that mean "not now" rather than "never".
_PASSING: Final = (
    "BUSY",
    "LOADING",
    "READONLY",
    "MASTERDOWN",
    "NOREPLICAS",
    "CLUSTERDOWN",
    "ERR max number of clients",
)


@contextmanager
def mapped_errors(room: str = "") -> Iterator[None]:
    """Turn what redis-py raises into the most specific error of ours."""
    try:
        yield
    except exceptions.OutOfMemoryError as error:
        raise Full("Redis is out of memory") from error
    except (exceptions.ConnectionError, exceptions.TimeoutError, TimeoutError, OSError) as error:
        raise Unavailable(f"Redis did not answer: {describe(error)}") from error
    except exceptions.NoPermissionError as error:
        raise Unavailable(f"Redis refused: {describe(error)}") from error
    except exceptions.AskError as error:  # a MovedError is one
        raise Unavailable("Redis refused: this server is part of a cluster, use redis+cluster://") from error
    except (exceptions.ClusterDownError, exceptions.TryAgainError, exceptions.ReadOnlyError) as error:
        # redis-py takes the code off these texts. MASTERDOWN comes as a ClusterDownError.
        raise Unavailable(f"Redis refused: {type(error).__name__}") from error
    except UnicodeDecodeError as error:
        raise RoomBroken(f"room {room!r}: a field is not text") from error
    except exceptions.ResponseError as error:
        text = str(error)
        if text.startswith(("OOM", "MISCONF")):
            raise Full("Redis cannot write: " + text.split(".")[0]) from error
        if text.startswith(_PASSING):
            raise Unavailable("Redis refused: " + text.split(".")[0]) from error
        raise RoomBroken(f"room {room!r}: {text.split(' script:')[0]}") from error
    except exceptions.RedisError as error:
        raise Unavailable(f"Redis failed: {type(error).__name__}") from error


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
        return "the user of redis_url may not run this command"
    if isinstance(error, exceptions.AuthenticationError):
        return "user or password is wrong"
    certificate = cause(error, ssl.SSLCertVerificationError)
    if certificate is not None:
        return f"its certificate is not accepted: {certificate.verify_message}"
    if cause(error, ssl.SSLError) is not None:
        return "no TLS connection could be made"
    if isinstance(error, exceptions.ResponseError):
        return str(error).split(" script:")[0]
    return type(error).__name__


def cause(error: BaseException | None, kind: type[_Error]) -> _Error | None:
    """The error, or whichever it was raised because of, if it is of that kind."""
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error
