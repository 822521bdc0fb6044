"""Reads what strace wrote down of a process: every call that changes files of one folder, in order of completion. Pure.

Made by `strace -f -ttt -T -xx -s LARGE -e trace=CALLS`. A call that was interrupted by others is put together
again and stands where it ended; a failed one is left out.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

#: What strace is asked for; together these tell everything that reaches a file, a folder, or the disk.
CALLS = (
    "open,openat,creat,close,dup,dup2,dup3,write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,fallocate,"
    "copy_file_range,sendfile,fsync,fdatasync,sync_file_range,sync,syncfs,rename,renameat,renameat2,link,linkat,"
    "symlink,symlinkat,unlink,unlinkat,mkdir,mkdirat,rmdir"
)
_LINE = re.compile(r"(?P<pid>\d+) +(?P<at>\d+\.\d+) (?P<rest>.*)\Z", re.DOTALL)
_RESUMED = re.compile(r"<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)\Z", re.DOTALL)
_CALL = re.compile(r"(?P<name>\w+)\((?P<args>.*)\) += (?P<result>-?\d+)[^<]*(?:<(?P<took>[\d.]+)>)?\Z", re.DOTALL)
_ARG = re.compile(r'"(?P<text>(?:\\x[0-9a-f]{2})*)"(?P<cut>\.\.\.)?|(?P<plain>[^",]+)')
_UNFINISHED = " <unfinished ...>"


@dataclass(frozen=True)
class Call:
    """One successful call: texts of its arguments are bytes, everything else stays as strace writes it.

    `begun` counts successful calls that had ended when this one began, `at` is when it ended, in seconds since 1970.
    """

    name: str
    args: tuple[bytes | str, ...]
    result: int
    begun: int
    at: float


def read_calls(lines: Iterable[str]) -> Iterator[Call]:
    """Every successful call, in order of completion. Raises ValueError for what is no such record."""
    open_calls: dict[str, tuple[str, int]] = {}
    ended = 0
    for line in lines:
        found = _LINE.match(line.rstrip("\n"))
        if found is None:
            raise ValueError(f"not a line of strace: {line[:120]!r}")
        pid, rest, at, begun = found["pid"], found["rest"], float(found["at"]), ended
        if rest.endswith(_UNFINISHED):
            open_calls[pid] = (rest.removesuffix(_UNFINISHED), ended)
            continue
        resumed = _RESUMED.match(rest)
        if resumed is not None:
            before, begun = open_calls.pop(pid)
            rest = before + resumed["rest"]
        call = _CALL.match(rest)
        if call is None:  # a signal, an exit, a call that did not return
            continue
        took = float(call["took"] or 0) if resumed is None else 0.0
        if int(call["result"]) >= 0:
            ended += 1
            yield Call(call["name"], tuple(_args(call["args"])), int(call["result"]), begun, at + took)


def _args(text: str) -> Iterator[bytes | str]:
    for found in _ARG.finditer(text):
        if found["cut"]:
            raise ValueError("strace has cut a text short; ask for longer ones")
        if found["text"] is not None:
            yield bytes.fromhex(found["text"].replace("\\x", ""))
        elif found["plain"].strip():
            yield found["plain"].strip()
