"""The error tree of the agent, split by what the caller does next; each error carries a hint for the operator."""


class AgentError(Exception):
    """Something an operator can act on: `message` says what happened and where, `hint` what to do next."""

    def __init__(self, message: str, hint: str, *, code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class ConfigError(AgentError):
    """A configuration file cannot be used: the verb ends with exit code 2, naming `file` and `key`."""

    def __init__(self, file: str, key: str, message: str, hint: str) -> None:
        super().__init__(message, hint, code="config")
        self.file = file
        self.key = key

    def __str__(self) -> str:
        where = f"{self.file}: {self.key}" if self.key else self.file
        return f"{where}: {self.message} {self.hint}".strip()


class ReadError(AgentError):
    """A file cannot be read as its feed says: the file is quarantined. `line` is 1-based, 0 when it has none."""

    def __init__(self, code: str, message: str, *, hint: str, line: int = 0) -> None:
        super().__init__(message, hint, code=code)
        self.line = line


class MappingError(AgentError):
    """The columns of a file do not fit the mapping of its feed: the file is held. `columns` are the missing ones."""

    def __init__(self, code: str, message: str, *, hint: str, columns: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint, code=code)
        self.columns = columns


class Unwritable(AgentError):
    """An order cannot be written as the template of the till asks: it is rejected with this reason, never altered."""

    def __init__(self, code: str, message: str, *, hint: str) -> None:
        super().__init__(message, hint, code=code)


class TryLater(AgentError):
    """Nothing is wrong with what was tried: keep it and try again after `retry_after_s` seconds, or after a backoff."""

    def __init__(self, message: str, hint: str, *, code: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, hint, code=code)
        self.retry_after_s = retry_after_s


class Refused(AgentError):
    """The other side has refused for good: trying the same again cannot help."""
