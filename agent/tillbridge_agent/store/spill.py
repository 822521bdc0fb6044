"""A spill on disk for comparing reordered files: one temporary file in the agent's own folder."""

import tempfile
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self


class DiskSpill:
    """Pieces of bytes by bucket in one unnamed file in `folder`; gone when closed, also after a crash.

    The file is made with the first piece. Memory holds two numbers a piece. It needs as much disk as is appended;
    OSError when there is none.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: FileIO | None = None
        self._pieces: dict[int, list[tuple[int, int]]] = {}
        self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(self, bucket: int, data: bytes) -> None:
        """Add a piece to a bucket."""
        file = self._opened()
        file.seek(self._end)
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest):]
        self._pieces.setdefault(bucket, []).append((self._end, len(data)))
        self._end += len(data)

    def read(self, bucket: int) -> Iterator[bytes]:
        """The pieces of a bucket, in the order and with the boundaries in which they were appended; repeatable."""
        for at, size in self._pieces.get(bucket, []):
            file = self._opened()
            file.seek(at)
            data = file.read(size)
            if len(data) != size:
                raise OSError(f"The spill file gave {len(data)} bytes at {at} instead of {size}.")
            yield data

    def close(self) -> None:
        """Give the disk space back."""
        if self._file is not None:
            self._file.close()

    def _opened(self) -> FileIO:
        if self._file is None:
            # Without a buffer: every piece is read once, and `seek` would throw the buffer away.
            self._file = tempfile.TemporaryFile(dir=self._folder, prefix="spill-", buffering=0)  # noqa: SIM115
        return self._file
