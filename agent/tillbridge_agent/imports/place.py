"""Places import files in the till's import folder: marks, spool, rename without overwriting, and the evidence of it.

Writes nowhere but into the import folder, under the names of import files, and into the spool folder beside or
below it on the same volume. Every method blocks, and raises OSError when a folder cannot be reached: then
nothing is known and everything waits.
"""

import contextlib
import ctypes
import errno
import hashlib
import os
import stat
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec

from tillbridge_agent import crash
from tillbridge_agent.core.placement import UNREADABLE_MARK, Evidence, Mark
from tillbridge_agent.errors import TryLater
from tillbridge_agent.sources.folder import fsync_folder, open_shared
from tillbridge_protocol.limits import COUNT_MAX

MARKS = "marks"
#: No import file of ours is larger; a larger file of this name is somebody else's.
_OURS_BYTES_MAX = 16 * 1024 * 1024
#: linux/fs.h, renameat2(2): fail instead of replacing a file that is there.
_RENAME_NOREPLACE, _AT_FDCWD = 1, -100
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


class _Reserved(msgspec.Struct, frozen=True):
    """The first line of a mark file."""

    order: str
    revision: int
    nonce: str
    sequence: Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)]
    file: str
    sha256: str


class _Moving(msgspec.Struct, frozen=True):
    """The second line: from here on the file may lie in the import folder."""

    moving: str


class DropFolder:
    """The till's import folder and our spool for it."""

    def __init__(self, folder: Path, spool: Path) -> None:
        self.folder, self.spool = folder, spool
        self.marks = spool / MARKS

    def prepare(self, *, known: bool) -> None:
        """Make the spool where it is not there yet. Raises TryLater with what to do, or OSError.

        `known`: the spool was made before. A share that is not mounted looks like an empty folder, so a spool
        that has vanished is not made anew.
        """
        if not self.folder.is_dir():
            raise TryLater(f"The till's import folder {self.folder} is not there.",
                           "Check that the share is there and may be written; orders wait and none is lost.")
        if known and not self.marks.is_dir():
            raise TryLater(
                f"The folder {self.marks} has vanished, in which this agent notes which orders it has placed.",
                "Check that the share is there. If the folder was deleted, make it by hand; orders wait meanwhile.",
            )
        if not known:
            self.marks.mkdir(parents=True, exist_ok=True)
            for folder in (self.spool, self.spool.parent):
                fsync_folder(folder)
        if self.folder.stat().st_dev != self.spool.stat().st_dev:
            raise TryLater(
                f"The spool folder {self.spool} is on another volume than the import folder {self.folder}.",
                "Choose a spool on the same volume (orders.spool): only there can a file be moved in one step.",
            )

    def look(self, order: str, revision: int, file: str | None) -> Evidence:
        """What lies in the folders for this order; `file` is its name in the import folder, where one was drawn."""
        mark = self._read_mark(order, revision)
        name = file or (mark.file if mark else "")
        return Evidence(
            mark=mark, spool=_content(self._spool_file(order, revision)),
            final=_content(self._final(name)) if name else None,
        )

    def highest_sequence(self) -> int:
        """The highest sequence number any mark names."""
        found = [_mark_of(path) for path in self.marks.glob("*.mark")]
        return max((mark.sequence for mark in found if mark is not None), default=0)

    def mark(
        self, order: str, revision: int, *, nonce: str, sequence: int, file: str, sha256: str,
    ) -> None:
        """Make the mark file, durable with its folder. Raises FileExistsError when there is one."""
        content = msgspec.json.encode(_Reserved(order, revision, nonce, sequence, file, sha256)) + b"\n"
        new = self.marks / f"{order}~{revision}.{nonce}.new"
        _write(new, content, 0o600)
        try:
            rename_new(new, self._mark_file(order, revision))
        except FileExistsError:
            new.unlink()
            raise
        fsync_folder(self.marks)
        crash.reach("mark.written")

    def write_spool(self, order: str, revision: int, body: bytes) -> str:
        """Write the import file into the spool, durable with its folder; its hash. What was there is ours and old."""
        path = self._spool_file(order, revision)
        # The till's own account must be able to read and move it: what the import folder allows, the file allows.
        mode = self.folder.stat().st_mode & 0o666
        _write(path, body, mode)
        crash.reach("spool.written")
        fsync_folder(self.spool)
        crash.reach("spool.synced")
        return hashlib.sha256(body).hexdigest()

    def move(self, order: str, revision: int, file: str, file_sha256: str) -> None:
        """Note `moving` in the mark, then rename spool file to import file. Raises FileExistsError, nothing moved."""
        mark = self._read_mark(order, revision)
        if mark is not None and not mark.moving:
            _append(self._mark_file(order, revision), msgspec.json.encode(_Moving(file_sha256)) + b"\n")
        crash.reach("mark.moving")
        rename_new(self._spool_file(order, revision), self._final(file))
        crash.reach("order.renamed")
        self.sync()
        crash.reach("order.folder_synced")

    def sync(self) -> None:
        """Make what was renamed durable in both folders."""
        fsync_folder(self.folder)
        fsync_folder(self.spool)

    def drop_spool(self, order: str, revision: int) -> None:
        """Delete a spool file that is not placed any more."""
        self._spool_file(order, revision).unlink(missing_ok=True)

    def spooled(self) -> list[tuple[str, int]]:
        """Order and revision of every file in the spool."""
        found = []
        for path in self.spool.glob("*~*.tmp"):
            order, _, revision = path.stem.partition("~")
            if revision.isdecimal():
                found.append((order, int(revision)))
        return sorted(found)

    def present(self, file: str) -> bool:
        """Whether a file of this name lies in the import folder. Raises OSError when the folder says nothing."""
        try:
            self._final(file).lstat()
        except FileNotFoundError:
            self.marks.stat()  # an unmounted share has no files either, and no marks
            return False
        return True

    def _mark_file(self, order: str, revision: int) -> Path:
        return self.marks / f"{order}~{revision}.mark"

    def _spool_file(self, order: str, revision: int) -> Path:
        return self.spool / f"{order}~{revision}.tmp"

    def _final(self, file: str) -> Path:
        if not _is_plain(file):
            raise ValueError(f"{file!r} is no plain file name")
        return self.folder / file

    def _read_mark(self, order: str, revision: int) -> Mark | None:
        return _mark_of(self._mark_file(order, revision))


def rename_new(source: Path, target: Path) -> None:
    """Rename within one volume without ever replacing a file. Raises FileExistsError.

    One atomic step on Windows and on Linux; on the few shares that do not know it, the look before the rename
    leaves a moment in which somebody else may make the same name.
    """
    if sys.platform == "win32":
        os.rename(source, target)
        return
    if _renamed_exclusively(source, target):
        return
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    os.rename(source, target)


def _renamed_exclusively(source: Path, target: Path) -> bool:
    """renameat2 with RENAME_NOREPLACE; False where system or volume do not know it."""
    call: Any = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), str(target))


def _write(path: Path, content: bytes, mode: int) -> None:
    """A new file with this content, durable; one that is left from an earlier try is replaced."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        if sys.platform != "win32":
            with contextlib.suppress(PermissionError):  # shares without modes: the server's own rules hold there
                os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())


def _append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _mark_of(path: Path) -> Mark | None:
    """What stands in a mark file; None where there is none. Anything behind the first line means `moving`."""
    try:
        first, _, rest = path.read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    try:
        reserved = msgspec.json.decode(first, type=_Reserved)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return UNREADABLE_MARK
    if not _is_plain(reserved.file):
        return UNREADABLE_MARK
    moving = ""
    if rest:
        try:
            moving = msgspec.json.decode(rest.split(b"\n")[0], type=_Moving).moving
        except (msgspec.MsgspecError, UnicodeDecodeError):
            moving = "unreadable"
    return Mark(reserved.nonce, reserved.sequence, reserved.file, moving)


def _is_plain(file: str) -> bool:
    """Whether a name stays in its folder, on every system."""
    return file not in ("", ".", "..") and not any(mark in file for mark in "/\\:\0")


def _content(path: Path) -> str | None:
    """The hash of a file, a word for what is none of ours, or None where there is nothing."""
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > _OURS_BYTES_MAX:
            return "not ours"
        with open_shared(path) as file:
            return hashlib.sha256(file.read()).hexdigest()
    except FileNotFoundError:
        return None
