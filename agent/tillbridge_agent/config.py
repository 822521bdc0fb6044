"""Reads agent.toml and feed files: frozen structs, and errors that name the file and the key."""

import difflib
import os
import re
import tomllib
import zoneinfo
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from tillbridge_agent.core import feed as feed_structs
from tillbridge_agent.core.feed import FeedConfig, Field, GuardsConfig, MappingConfig, SourceConfig, faults
from tillbridge_agent.errors import ConfigError
from tillbridge_agent.readers import READERS, ReaderConfig

__all__ = [
    "AgentConfig", "FeedConfig", "Field", "GuardsConfig", "MappingConfig", "ReaderConfig", "SourceConfig",
    "known_keys", "load_agent_config", "load_feed",
]

_AT = re.compile(r" - at `(?:key in )?\$\.?(?P<path>[^`]*)`$")
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<name>[^`]*)`")
_MISSING = re.compile(r"^Object missing required field `(?P<name>[^`]*)`")
_Struct = TypeVar("_Struct", bound=msgspec.Struct)


class _AgentFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """agent.toml as written."""

    state: str = "state"
    server: str | None = None
    allowed_roots: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = (".",)
    feed_files: tuple[str, ...] = ()
    heartbeat_s: Annotated[float, msgspec.Meta(ge=1, le=3600)] = 15.0
    feeds: tuple[FeedConfig, ...] = ()


class AgentConfig(msgspec.Struct, frozen=True, kw_only=True):
    """agent.toml with every path absolute and every feed checked; `path` is the file itself."""

    path: Path
    state: Path
    server: str | None
    allowed_roots: tuple[Path, ...]
    feeds: tuple[FeedConfig, ...]
    heartbeat_s: float

    def feed(self, name: str) -> FeedConfig:
        """The feed of this name. Raises ConfigError."""
        for feed in self.feeds:
            if feed.name == name:
                return feed
        near = _nearest(name, [feed.name for feed in self.feeds]) or "Configure it, or check its name."
        raise ConfigError(str(self.path), "feeds", f"No feed is named {name!r}.", near)


def load_agent_config(path: str | Path) -> AgentConfig:
    """Read agent.toml and the feed files it names; relative paths start at the file they are written in.

    Raises ConfigError naming file and key.
    """
    file = Path(path).absolute()
    raw = _decode(file, _AgentFile)
    folder = file.parent
    roots = tuple(_resolve(folder, root) for root in raw.allowed_roots)
    feeds = [_finish_feed(file, f"feeds[{number}].", feed, roots) for number, feed in enumerate(raw.feeds)]
    for pattern in raw.feed_files:
        found = sorted(folder.glob(pattern)) if not Path(pattern).is_absolute() else [Path(pattern)]
        if not found:
            raise ConfigError(str(file), "feed_files", f"No file fits {pattern!r}.",
                              f"Put a feed file there, or take {pattern!r} out of the list.")
        feeds += [_finish_feed(feed_file, "", _decode(feed_file, FeedConfig), roots) for feed_file in found]
    _check_names(file, feeds)
    return AgentConfig(
        path=file, state=_resolve(folder, raw.state), server=raw.server, allowed_roots=roots,
        feeds=tuple(feeds), heartbeat_s=raw.heartbeat_s,
    )


def load_feed(path: str | Path) -> FeedConfig:
    """Read one feed from a file of its own, as `check` does. Raises ConfigError naming file and key."""
    file = Path(path).absolute()
    feed = _decode(file, FeedConfig)
    _check_feed(file, "", feed)
    return feed


def known_keys() -> set[str]:
    """Every key that may stand in agent.toml or a feed file; the README must explain each of them."""
    structs: list[Any] = [_AgentFile, *(reader.config_type for reader in READERS.values())]
    structs += [kind for kind in vars(feed_structs).values()
                if isinstance(kind, type) and issubclass(kind, msgspec.Struct)]
    return {"format"} | {name for kind in structs for name in kind.__struct_encode_fields__}


def _finish_feed(file: Path, prefix: str, feed: FeedConfig, roots: tuple[Path, ...]) -> FeedConfig:
    """Checks a feed that will run, and makes its path absolute."""
    _check_feed(file, prefix, feed)
    if feed.source is None:
        raise ConfigError(str(file), f"{prefix}source", f"Feed {feed.name!r} has no source, so nothing can be watched.",
                          'Add [feeds.source] with path = "..." and pattern = "...".')
    folder = _resolve(file.parent, feed.source.path)
    if not any(folder == root or root in folder.parents for root in roots):
        raise ConfigError(str(file), f"{prefix}source.path", f"{folder} is outside the folders this agent may touch.",
                          "Add the folder to allowed_roots in agent.toml, or choose one below them.")
    return msgspec.structs.replace(feed, source=msgspec.structs.replace(feed.source, path=str(folder)))


def _check_feed(file: Path, prefix: str, feed: FeedConfig) -> None:
    for key, message, hint in faults(feed):
        raise ConfigError(str(file), prefix + key, message, hint)
    zone = feed.mapping.time_zone
    if zone is not None:
        try:
            zoneinfo.ZoneInfo(zone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
            near = _nearest(zone, sorted(zoneinfo.available_timezones()))
            raise ConfigError(str(file), f"{prefix}mapping.time_zone", f"There is no time zone {zone!r}.",
                              near or 'Zones are named like "Europe/Zurich".') from error


def _check_names(file: Path, feeds: list[FeedConfig]) -> None:
    seen: set[str] = set()
    for feed in feeds:
        if feed.name in seen:
            raise ConfigError(str(file), "feeds", f"Two feeds are named {feed.name!r}.", "Give each a name of its own.")
        seen.add(feed.name)


def _resolve(folder: Path, path: str) -> Path:
    """An absolute path with links followed, so that no link leads out of the allowed roots."""
    return Path(os.path.realpath(folder / path))


def _decode(file: Path, kind: type[_Struct]) -> _Struct:
    try:
        table = tomllib.loads(file.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        absent = isinstance(error, FileNotFoundError)
        reason = "There is no such file." if absent else f"It cannot be read: {error.strerror}."
        raise ConfigError(str(file), "", reason, "Check the path, and that this account may read it.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(str(file), "", "It is not UTF-8 text.", "Save the file as UTF-8.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(file), "", f"It is not TOML: {error}.", "Look at that line.") from error
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        raise _config_error(file, str(error)) from error


def _config_error(file: Path, text: str) -> ConfigError:
    """msgspec's message as a sentence with the full key."""
    where = _AT.search(text)
    parent = where["path"] if where else ""
    text = _AT.sub("", text)
    if unknown := _UNKNOWN.match(text):
        hint = _nearest(unknown["name"], sorted(known_keys())) or "Take it out; agent/README.md lists every key."
        return ConfigError(str(file), _join(parent, unknown["name"]), "This key is not known here.", hint)
    if missing := _MISSING.match(text):
        return ConfigError(str(file), _join(parent, missing["name"]), "This key is missing.",
                           "Add it; agent/README.md says what it means.")
    return ConfigError(str(file), parent, f"{text}.", "agent/README.md says what may stand here.")


def _join(parent: str, name: str) -> str:
    return f"{parent}.{name}" if parent else name


def _nearest(word: str, words: list[str]) -> str:
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return f"Did you mean {near[0]!r}?" if near else ""
