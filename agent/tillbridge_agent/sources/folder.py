"""The folder source: lists, stages and watches an export folder; never writes, locks or renames anything in it.

The listing is the truth. Watch events are only a hint to list again, because network shares do not send them
all (gorakhargosh/watchdog#409). Files are opened so that the POS may rename or delete them meanwhile, copied
once from start to end, and everything else works on the copy.
"""

import asyncio
import contextlib
import ctypes
import fnmatch
import hashlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from tillbridge_agent import crash

CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Seen:
    """One file as a listing shows it; `signature` changes whenever its content may have changed."""

    name: str
    path: Path
    size: int
    mtime_ns: int
    inode: int

    @property
    def signature(self) -> tuple[int, int, int]:
        """Size, modification time and identity of the file."""
        return (self.size, self.mtime_ns, self.inode)


@dataclass(frozen=True)
class Staged:
    """A private, fsynced copy named by its content's SHA-256."""

    sha256: str
    path: Path
    size: int


class ChangedWhileReading(Exception):
    """The file was written to while it was copied; the copy is thrown away and the file has to settle again."""


def list_folder(folder: Path, pattern: str) -> list[Seen]:
    """The matching files, oldest first. Raises OSError when the folder cannot be listed: then nothing is known.

    A folder that cannot be listed is not an empty one: an unmounted share must never look like deleted files.
    """
    seen = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not fnmatch.fnmatch(entry.name.lower(), pattern.lower()):
                continue
            try:
                # follow_symlinks=False: a link planted in the folder must not lead out of it
                if not entry.is_file(follow_symlinks=False):
                    continue
                found = os.stat(entry.path, follow_symlinks=False)
            except FileNotFoundError:
                continue  # renamed or deleted between listing and looking
            # A name in an old code page cannot be kept, logged or sent as it is; its path still leads to the file.
            name = entry.name.encode("utf-8", "backslashreplace").decode()
            seen.append(Seen(name, Path(entry.path), found.st_size, found.st_mtime_ns, found.st_ino))
    return sorted(seen, key=lambda one: (one.mtime_ns, one.name))


def stage(seen: Seen, copies: Path) -> Staged:
    """Copy the file into `copies` under its hash, fsynced with its folder.

    Raises ChangedWhileReading, or OSError when the file cannot be read now.
    """
    digest, size = hashlib.sha256(), 0
    part = copies / f"incoming-{os.getpid()}-{seen.inode}.part"
    with open_shared(seen.path) as source, part.open("wb") as target:
        while chunk := source.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
            target.write(chunk)
        after = os.fstat(source.fileno())
        target.flush()
        os.fsync(target.fileno())
    if (after.st_size, after.st_mtime_ns) != (seen.size, seen.mtime_ns) or size != seen.size:
        part.unlink()
        raise ChangedWhileReading(seen.name)
    crash.reach("stage.written")
    copy = copies / digest.hexdigest()
    part.replace(copy)
    fsync_folder(copies)
    crash.reach("stage.renamed")
    return Staged(digest.hexdigest(), copy, size)


def drop_copies(copies: Path, referenced: set[str]) -> int:
    """Delete staged copies that nothing refers to any more; returns how many."""
    dropped = 0
    for path in copies.iterdir():
        if path.name not in referenced:
            with contextlib.suppress(OSError):  # on Windows one that is open, by a virus scanner say: next time
                path.unlink(missing_ok=True)
                dropped += 1
    crash.reach("copies.deleted")
    return dropped


def open_shared(path: Path) -> BinaryIO:
    """Open for reading so that others may read, write, rename and delete the file meanwhile."""
    if sys.platform == "win32":
        return _open_shared_windows(path)
    # The listing left links out; one put in its place since must not lead out of the folder either.
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb", buffering=0)


def fsync_folder(folder: Path) -> None:
    """Make a rename in this folder durable; Windows does it with the rename itself."""
    if sys.platform != "win32":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _open_shared_windows(path: Path) -> BinaryIO:
    """CreateFileW with every share flag (learn.microsoft.com, CreateFileW); Python's own open() lacks SHARE_DELETE."""
    import msvcrt

    generic_read, share_all, open_existing, normal = 0x80000000, 0x1 | 0x2 | 0x4, 3, 0x80
    api: Any = ctypes
    create = api.WinDLL("kernel32", use_last_error=True).CreateFileW
    create.restype = ctypes.c_void_p
    handle = create(str(path), generic_read, share_all, None, open_existing, normal, None)
    if handle == ctypes.c_void_p(-1).value:
        raise api.WinError(api.get_last_error())
    descriptor = msvcrt.open_osfhandle(handle, os.O_RDONLY)  # type: ignore[attr-defined]
    return os.fdopen(descriptor, "rb", buffering=0)


class FolderHints:
    """Watches folders and calls `hint(folder)` from the event loop when something happened in one."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._observer = Observer()
        self._started = False

    def watch(self, folder: Path, hint: Callable[[], None]) -> bool:
        """Start hints for a folder; False where the system gives none (the listing still finds everything)."""
        try:
            self._observer.schedule(_Hint(self._loop, hint), str(folder), recursive=False)
            if not self._started:
                self._observer.start()
                self._started = True
        except (OSError, RuntimeError):
            return False
        return True

    def stop(self) -> None:
        """Stop watching."""
        if self._started:
            self._observer.stop()
            self._observer.join()


class _Hint(FileSystemEventHandler):
    def __init__(self, loop: asyncio.AbstractEventLoop, hint: Callable[[], None]) -> None:
        self._loop, self._hint = loop, hint

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Any event: look again. Reading a file makes events too, which must not wake us for ever."""
        if event.event_type in ("created", "modified", "moved", "deleted", "closed"):
            self._loop.call_soon_threadsafe(self._hint)
