"""A disk that forgets: the files of one folder as they would be after a power cut at any moment of a recording. Pure.

What survives: the content of a file as far as it was fsynced, and names as far as their folder was. A rename is
one step of the file system, for both folders or for none, and an fsync of either makes it durable; journaling
file systems promise that much. They make a new file's name durable with its content as well, which is not used
here: nobody promises it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random

from tests.faults.powercut.trace import Call

SECTOR = 512
#: A call that the recorded process is said not to have made.
LEFT_OUT = "left out"
Files = dict[str, bytes]


@dataclass
class _Change:
    """A write or a cut of one file; `size` None for a write."""

    at: int
    offset: int
    content: bytes
    size: int | None = None

    def apply(self, to: bytearray) -> None:
        if self.size is not None:
            del to[self.size:]
            to.extend(bytes(self.size - len(to)))
            return
        to.extend(bytes(max(0, self.offset - len(to))))
        to[self.offset:self.offset + len(self.content)] = self.content

    def pieces(self) -> "Iterable[_Change]":
        """The sectors it is written in."""
        if self.size is not None:
            return [self]
        cuts = range(0, len(self.content), SECTOR)
        return [_Change(self.at, self.offset + cut, self.content[cut:cut + SECTOR]) for cut in cuts]


@dataclass
class _Inode:
    durable: bytearray = field(default_factory=bytearray)
    now: bytearray = field(default_factory=bytearray)
    pending: list[_Change] = field(default_factory=list)

    def change(self, change: _Change) -> None:
        change.apply(self.now)
        self.pending.append(change)

    def sync(self, before: int) -> None:
        for change in self.pending:
            if change.at < before:
                change.apply(self.durable)
        self.pending = [change for change in self.pending if change.at >= before]


@dataclass
class _NameStep:
    """Names that go and a name that comes, at once; `folders` are those whose fsync makes it durable."""

    at: int
    folders: frozenset[str]
    gone: tuple[str, ...] = ()
    comes: tuple[str, _Inode | None] | None = None
    durable: bool = False

    def apply(self, names: dict[str, "_Inode | None"]) -> None:
        for path in self.gone:
            names.pop(path, None)
        if self.comes is not None:
            names[self.comes[0]] = self.comes[1]


@dataclass
class _Handle:
    inode: _Inode | None
    folder: str
    append: bool
    offset: int = 0


class Disk:
    """The files below `root`; `folders` are there from the beginning. Feed it calls, ask it for cuts.

    A folder is a name without content. `changed` says whether the last call changed anything here.
    """

    def __init__(self, root: str, folders: Iterable[str]) -> None:
        self._root = root.rstrip("/") + "/"
        self._steps: list[_NameStep] = []
        self._names: dict[str, _Inode | None] = {}
        self._base: dict[str, _Inode | None] = {}
        for folder in folders:
            self._base[folder] = self._names[folder] = None
        self._handles: dict[int, _Handle] = {}
        self._calls = 0
        self._last: tuple[_Inode, _Change] | None = None
        self.changed = False

    # -- what happened -----------------------------------------------------------------------------------------------

    def play(self, call: Call) -> None:
        """One call of the recorded process, in order of completion."""
        self._calls += 1
        self.changed, self._last = False, None
        if call.name == LEFT_OUT:
            return
        act = getattr(self, f"_on_{call.name}", None)
        if act is not None:
            act(call)
        elif _touches(call, self._root, self._handles):
            raise ValueError(f"{call.name} is not understood here")

    def put(self, path: str, content: bytes) -> None:
        """Another program makes a whole file, durable at once."""
        inode = _Inode(bytearray(content), bytearray(content))
        self._name(_NameStep(self._calls, frozenset((_folder(path),)), comes=(path, inode)))
        self.sync_folder(_folder(path))

    def take(self, path: str) -> None:
        """Another program takes a file away, durable at once, and with it what happened in its folder before."""
        self._name(_NameStep(self._calls, frozenset((_folder(path),)), gone=(path,)))
        self.sync_folder(_folder(path))

    def sync_folder(self, folder: str, before: int | None = None) -> None:
        """Names in a folder are durable now."""
        for step in self._steps:
            if folder in step.folders and (before is None or step.at < before):
                step.durable = True

    # -- what is left after a power cut --------------------------------------------------------------------------------

    def everything(self) -> Files:
        """All that was written, fsynced or not; also what every program sees now. Folders end with a slash."""
        return _files(self._names, lambda inode: bytes(inode.now))

    def synced(self) -> Files:
        """Only what was fsynced."""
        names = self._replayed(lambda step: step.durable)
        return _files(names, lambda inode: bytes(inode.durable))

    def torn(self, rng: Random) -> Files | None:
        """Everything, but the last call was a write and only its beginning arrived; None when it was none."""
        if self._last is None or len(self._last[1].content) < 2:
            return None
        inode, last = self._last
        kept = bytearray(inode.durable)
        for change in inode.pending[:-1]:
            change.apply(kept)
        cut = rng.randrange(1, len(last.content))
        _Change(last.at, last.offset, last.content[:cut]).apply(kept)
        return _files(self._names, lambda one: bytes(kept) if one is inode else bytes(one.now))

    def some(self, rng: Random) -> Files:
        """What was fsynced, and of the rest some sectors and some names."""
        names = self._replayed(lambda step: step.durable or rng.random() < 0.5)
        contents: dict[int, bytes] = {}
        for inode in names.values():
            if inode is not None and id(inode) not in contents:
                kept = bytearray(inode.durable)
                for change in inode.pending:
                    for piece in change.pieces():
                        if rng.random() < 0.5:
                            piece.apply(kept)
                contents[id(inode)] = bytes(kept)
        return _files(names, lambda inode: contents[id(inode)])

    # -- calls -------------------------------------------------------------------------------------------------------

    def _on_open(self, call: Call) -> None:
        self._open(call.result, _path(call.args[0]), str(call.args[1]))

    def _on_openat(self, call: Call) -> None:
        self._open(call.result, _path(call.args[1]), str(call.args[2]))

    def _on_creat(self, call: Call) -> None:
        self._open(call.result, _path(call.args[0]), "O_WRONLY|O_CREAT|O_TRUNC")

    def _on_close(self, call: Call) -> None:
        self._handles.pop(int(str(call.args[0])), None)

    def _on_write(self, call: Call) -> None:
        handle = self._handles.get(int(str(call.args[0])))
        if handle is None or handle.inode is None:
            return
        offset = len(handle.inode.now) if handle.append else handle.offset
        self._write(handle.inode, offset, _bytes(call.args[1])[:call.result])
        handle.offset = offset + call.result

    def _on_pwrite64(self, call: Call) -> None:
        handle = self._handles.get(int(str(call.args[0])))
        if handle is not None and handle.inode is not None:
            self._write(handle.inode, int(str(call.args[3])), _bytes(call.args[1])[:call.result])

    def _on_ftruncate(self, call: Call) -> None:
        handle = self._handles.get(int(str(call.args[0])))
        if handle is not None and handle.inode is not None:
            handle.inode.change(_Change(self._calls, 0, b"", int(str(call.args[1]))))
            self.changed = True

    def _on_fsync(self, call: Call) -> None:
        handle = self._handles.get(int(str(call.args[0])))
        if handle is None:
            return
        self.changed = True
        if handle.inode is not None:
            handle.inode.sync(call.begun + 1)
        else:
            self.sync_folder(handle.folder, call.begun + 1)

    _on_fdatasync = _on_fsync

    def _on_rename(self, call: Call) -> None:
        self._rename(_path(call.args[0]), _path(call.args[1]))

    def _on_renameat(self, call: Call) -> None:
        self._rename(_path(call.args[1]), _path(call.args[3]))

    _on_renameat2 = _on_renameat

    def _on_unlink(self, call: Call) -> None:
        self._unlink(_path(call.args[0]))

    def _on_unlinkat(self, call: Call) -> None:
        self._unlink(_path(call.args[1]))

    def _on_mkdir(self, call: Call) -> None:
        path = _path(call.args[0])
        if self._ours(path):
            self._name(_NameStep(self._calls, frozenset((_folder(path),)), comes=(path, None)))

    # -- steps -------------------------------------------------------------------------------------------------------

    def _open(self, number: int, path: str, flags: str) -> None:
        self._handles.pop(number, None)
        if not self._ours(path) and path + "/" != self._root:
            return
        if path in self._names and self._names[path] is None:
            self._handles[number] = _Handle(None, path, append=False)
            return
        inode = self._names.get(path)
        if inode is None:
            if "O_CREAT" not in flags:  # it was there before: nothing of what is recorded
                return
            inode = _Inode()
            self._name(_NameStep(self._calls, frozenset((_folder(path),)), comes=(path, inode)))
        elif "O_TRUNC" in flags:
            inode.change(_Change(self._calls, 0, b"", 0))
        self._handles[number] = _Handle(inode, _folder(path), append="O_APPEND" in flags)

    def _write(self, inode: _Inode, offset: int, content: bytes) -> None:
        change = _Change(self._calls, offset, content)
        inode.change(change)
        self._last, self.changed = (inode, change), True

    def _rename(self, source: str, target: str) -> None:
        if self._ours(source) and source in self._names:
            folders = frozenset((_folder(source), _folder(target)))
            self._name(_NameStep(self._calls, folders, gone=(source,), comes=(target, self._names[source])))

    def _unlink(self, path: str) -> None:
        if self._ours(path) and path in self._names:
            self._name(_NameStep(self._calls, frozenset((_folder(path),)), gone=(path,)))

    def _name(self, step: _NameStep) -> None:
        step.apply(self._names)
        self._steps.append(step)
        self.changed = True

    def _ours(self, path: str) -> bool:
        return path.startswith(self._root)

    def _replayed(self, kept: Callable[[_NameStep], bool]) -> dict[str, _Inode | None]:
        names = dict(self._base)
        for step in self._steps:
            if kept(step):
                step.apply(names)
        return names


def _files(names: dict[str, _Inode | None], content: Callable[[_Inode], bytes]) -> Files:
    """Names whose folder is there as well, with their content."""
    folders = {path for path, inode in names.items() if inode is None}
    files: Files = {f"{path}/": b"" for path in folders}
    for path, inode in names.items():
        if inode is not None and _folder(path) in folders:
            files[path] = content(inode)
    return files


def _touches(call: Call, root: str, handles: dict[int, _Handle]) -> bool:
    """Whether a call that is not understood may have changed something here."""
    named = any(isinstance(arg, bytes) and arg.startswith(root.encode()) for arg in call.args)
    numbers = [int(arg) for arg in call.args if isinstance(arg, str) and arg.isdigit()]
    return named or any(number in handles for number in numbers)


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _path(arg: bytes | str) -> str:
    return _bytes(arg).decode()


def _bytes(arg: bytes | str) -> bytes:
    assert isinstance(arg, bytes), arg
    return arg
