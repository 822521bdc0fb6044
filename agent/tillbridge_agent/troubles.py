"""What hinders a loop now, for the status: each trouble told once in the log, and over when it is."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import structlog

log = structlog.get_logger()


@dataclass
class Troubles:
    """Troubles by name; `code` is what the status shows, and the first word of the name unless given otherwise."""

    monotonic: Callable[[], float] = time.monotonic
    _found: dict[str, tuple[dict[str, str], float | None]] = field(default_factory=dict)

    def tell(self, name: str, message: str, hint: str, *, for_s: float | None = None) -> None:
        """It is so now; `for_s`: over after so many seconds unless told again."""
        if name not in self._found:
            log.warning("trouble", what=name, message=message)
        until = None if for_s is None else self.monotonic() + for_s
        self._found[name] = ({"code": name.partition(" ")[0], "message": message, "hint": hint}, until)

    def over(self, name: str, *, but: Collection[str] = ()) -> None:
        """It is over; a name that ends in a blank stands for all that begin so, `but` these."""
        for one in [one for one in self._found if one == name or (name.endswith(" ") and one.startswith(name))]:
            if one not in but:
                del self._found[one]

    def now(self) -> list[dict[str, str]]:
        """Code, message and hint of what is not over."""
        at = self.monotonic()
        return [problem for problem, until in self._found.values() if until is None or until > at]
