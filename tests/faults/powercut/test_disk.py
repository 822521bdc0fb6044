"""The disk that forgets and the reading of strace: what survives a power cut, call by call."""

from random import Random

import pytest
from tests.faults.powercut.disk import Disk
from tests.faults.powercut.trace import read_calls

_A = "".join(f"\\x{byte:02x}" for byte in b"/d/a")
_B = "".join(f"\\x{byte:02x}" for byte in b"/d/b")
_D = "".join(f"\\x{byte:02x}" for byte in b"/d")
OPEN = f'1 1.0 openat(AT_FDCWD, "{_A}", O_WRONLY|O_CREAT|O_EXCL, 0600) = 3 <0.1>'
WRITE = '1 2.0 write(3, "\\x68\\x69\\x21\\x21", 4) = 4 <0.1>'
SYNC = "1 3.0 fsync(3) = 0 <0.1>"
OPEN_FOLDER = f'1 4.0 openat(AT_FDCWD, "{_D}", O_RDONLY) = 4 <0.1>'
SYNC_FOLDER = "1 5.0 fsync(4) = 0 <0.1>"
RENAME = f'1 6.0 renameat2(AT_FDCWD, "{_A}", AT_FDCWD, "{_B}", RENAME_NOREPLACE) = 0 <0.1>'


def played(*lines: str) -> Disk:
    """A disk with one folder after these calls."""
    disk = Disk("/d", ["/d"])
    for call in read_calls(lines):
        disk.play(call)
    return disk


def files(found: dict[str, bytes]) -> dict[str, bytes]:
    """Without the folder itself."""
    return {path: content for path, content in found.items() if path != "/d/"}


def test_what_survives() -> None:
    """Content by the fsync of the file, names by the fsync of the folder, each by itself."""
    assert files(played(OPEN, WRITE).everything()) == {"/d/a": b"hi!!"}
    assert files(played(OPEN, WRITE, SYNC).synced()) == {}
    assert files(played(OPEN, WRITE, OPEN_FOLDER, SYNC_FOLDER).synced()) == {"/d/a": b""}
    assert files(played(OPEN, WRITE, SYNC, OPEN_FOLDER, SYNC_FOLDER).synced()) == {"/d/a": b"hi!!"}


def test_a_rename_is_one_step() -> None:
    """Not durable yet, the old name is there; with the fsync of its folder the new one is, never both."""
    before = (OPEN, WRITE, SYNC, OPEN_FOLDER, SYNC_FOLDER, RENAME)
    assert files(played(*before).synced()) == {"/d/a": b"hi!!"}
    assert files(played(*before, SYNC_FOLDER).synced()) == {"/d/b": b"hi!!"}
    assert {tuple(files(played(*before).some(Random(seed)))) for seed in range(20)} == {("/d/a",), ("/d/b",)}


def test_torn_and_some() -> None:
    """A torn write leaves a beginning; of what was not fsynced any part may be there."""
    torn = files(played(OPEN, WRITE).torn(Random(1)) or {})["/d/a"]
    assert torn in (b"h", b"hi", b"hi!")
    assert played(OPEN, WRITE, SYNC).torn(Random(1)) is None
    found = {files(played(OPEN, WRITE).some(Random(seed))).get("/d/a") for seed in range(40)}
    assert found == {None, b"", b"hi!!"}


def test_a_write_during_an_fsync_is_not_covered() -> None:
    """What ended while the fsync was under way may be missing."""
    begun = "2 2.5 fsync(3 <unfinished ...>"
    ended = "2 3.5 <... fsync resumed>) = 0 <1.0>"
    more = '1 3.0 write(3, "\\x3f", 1) = 1 <0.1>'
    disk = played(OPEN, WRITE, OPEN_FOLDER, SYNC_FOLDER, begun, more, ended)
    assert files(disk.synced()) == {"/d/a": b"hi!!"}
    assert files(disk.everything()) == {"/d/a": b"hi!!?"}


def test_what_is_not_understood_is_told() -> None:
    """A call that changes files in a way nobody thought of is no silence; a failed one changed nothing."""
    with pytest.raises(ValueError, match="linkat"):
        played(OPEN, f'1 2.0 linkat(AT_FDCWD, "{_A}", AT_FDCWD, "{_B}", 0) = 0 <0.1>')
    with pytest.raises(ValueError, match="strace has cut"):
        played('1 2.0 write(3, "\\x68"..., 400) = 400 <0.1>')
    assert files(played(OPEN, RENAME.replace("= 0", "= -1 EEXIST (File exists)")).everything()) == {"/d/a": b""}
