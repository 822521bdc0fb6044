"""The server's errors, split by what the caller does next; each carries a `hint`: what to run or change."""


class TillbridgeError(Exception):
    """Root of all operating errors of the server."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class TryLater(TillbridgeError):
    """Keep it and come back after `retry_after_s` (None: by the usual backoff)."""

    def __init__(self, message: str, hint: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, hint)
        self.retry_after_s = retry_after_s


class Refused(TillbridgeError):
    """Finally refused: becomes a dead letter with this code."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.code = code


class ConfigError(TillbridgeError):
    """A key in a configuration file is missing or wrong: exit 2, naming file and key."""

    def __init__(self, file: str, key: str, message: str, hint: str = "") -> None:
        super().__init__(f"{file}: {key}: {message}" if key else f"{file}: {message}", hint)
        self.file = file
        self.key = key


class NotKnown(TillbridgeError):
    """A name that was asked for does not exist here: exit 2, or 404."""


class NotPossible(TillbridgeError):
    """What a person asked for cannot be done in this state; nothing was changed: exit 2, or 409."""
