"""What may be wrong with a server: faults that end a request, and those that another attempt may not meet."""

from data_gen.settings.errors import InputError, ProblemFaultError


class ServerError(InputError):
    """A server refused a request, or every attempt failed. What was drawn before is in the ledger: the same
    command goes on.
    """


class RefusedRequestError(ServerError, ProblemFaultError):
    """Servers that are up cannot do with this request: they blame what it says, or every attempt brought a
    reply that does not fit it.
    """


class NotAReplicaError(ServerError):
    """A server that serves something else than the others, or than it did before."""


class PassingFaultError(Exception):
    """Something that another attempt may not meet; `retry_after_seconds` where the server said when to come
    back.
    """

    def __init__(self, reason: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


class LostServerError(PassingFaultError):
    """A fault behind which something else may be served at that address: the connection was lost, or what was
    asked for is not there.
    """


class UnreachableError(LostServerError):
    """No connection came about."""


class SentAwayError(PassingFaultError):
    """The server is no replica, and there are others."""
