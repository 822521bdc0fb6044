"""Records seen in one file only, waiting for an equal record of the other file: moved rows cancel here."""

from collections.abc import Iterable, Iterator, Sequence

#: What one waiting record costs beside its bytes: dict slot, bytes object, list and line number.
RECORD_COST = 250


class Leftovers:
    """Two multisets of records with their lines; `cost` estimates their memory in bytes."""

    def __init__(self) -> None:
        self.old: dict[bytes, list[int]] = {}
        self.new: dict[bytes, list[int]] = {}
        self.cost = 0

    def take(
        self, old: Sequence[bytes], old_lines: Sequence[int], new: Sequence[bytes], new_lines: Sequence[int]
    ) -> None:
        """Records of both files, in file order; equal ones cancel, whenever they were seen."""
        self._side(old, old_lines, self.old, self.new)
        self._side(new, new_lines, self.new, self.old)

    def _side(
        self, records: Iterable[bytes], lines: Iterable[int], mine: dict[bytes, list[int]],
        other: dict[bytes, list[int]],
    ) -> None:
        for record, line in zip(records, lines, strict=True):
            waiting = other.get(record)
            if waiting is None:
                mine.setdefault(record, []).append(line)
                self.cost += len(record) + RECORD_COST
            else:
                waiting.pop()
                self.cost -= len(record) + RECORD_COST
                if not waiting:
                    del other[record]


def in_line_order(waiting: dict[bytes, list[int]]) -> Iterator[tuple[int, bytes]]:
    """(line, record) of one side, by line."""
    yield from sorted((line, record) for record, lines in waiting.items() for line in lines)
