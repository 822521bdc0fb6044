"""Rules over any text file and over the tree: leftovers, machine paths, the root, constraints, plugin folders."""

import re
from collections.abc import Callable, Iterable, Iterator

from tests.tidy.tree import Text

#: What may stand in the root folder; everything else has a room.
ROOT_ENTRIES = {
    "agent", "server", "protocol", "installer", "tests", ".ci", ".gitignore", ".gitattributes",
    "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE", "DECISIONS.md",
    "Makefile", "pyproject.toml", "constraints.txt",
}
_LEFTOVERS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
_SKIPS = re.compile(
    r"pytest\.(?:mark\.)?(?P<what>xfail|skip(?:if)?|importorskip)\b(?P<rest>.{0,300})"
    r"|raise NotImplementedError", re.DOTALL
)
_MACHINE_PATHS = re.compile(r"(?<![\w.:/])/(?:root|home|work|Users)/[\w.-]+|\b[A-Za-z]:\\\\?Users\\", re.ASCII)
_INDEXES = re.compile(r"https?://[^\s\"']+/simple\b")
#: These two are about the words that the rules look for.
_ABOUT_RULES = {"tests/tidy/texts.py", "tests/tidy/test_rules_can_fail.py"}
_PINNED = re.compile(r"[A-Za-z0-9][\w.-]*==[\w.!+-]+")
#: Vendored files keep their own words.
_VENDORED = re.compile(r"/static/(?:vendor/|htmx|uPlot)")


def leftovers(file: Text) -> Iterator[str]:
    """Nothing half-done is committed."""
    if file.path in _ABOUT_RULES or _VENDORED.search(file.path):
        return
    for number, line in enumerate(file.lines, 1):
        if found := _LEFTOVERS.search(line):
            yield f"{file.path}:{number}: says {found[1]}. Do it now, or write it down where work is planned."


def skips(file: Text) -> Iterator[str]:
    """A test runs, or says NOT RUN and why; nothing is expected to fail or left unwritten."""
    if file.path in _ABOUT_RULES or not file.path.endswith(".py"):
        return
    for found in _SKIPS.finditer(file.text):
        number = file.text.count("\n", 0, found.start()) + 1
        if found["what"] in {"skip", "skipif"}:
            if "NOT RUN: " not in found["rest"]:
                yield f'{file.path}:{number}: a skip without a reason. Start the reason with "NOT RUN: ".'
        else:
            yield f"{file.path}:{number}: {found[0].split('(')[0]}. Write the missing part, or delete the test."


def machine_paths(file: Text) -> Iterator[str]:
    """No path of somebody's machine, no address of a package registry."""
    if file.path in _ABOUT_RULES or _VENDORED.search(file.path):
        return
    for number, line in enumerate(file.lines, 1):
        if found := _MACHINE_PATHS.search(line):
            yield f"{file.path}:{number}: {found[0]} exists on one machine only. Use a path relative to the file."
        if found := _INDEXES.search(line):
            yield f"{file.path}:{number}: names {found[0]}. Leave it to the installer's own settings."


def last_newline(file: Text) -> Iterator[str]:
    """Files written by hand end with one newline."""
    by_hand = file.path.endswith((".py", ".md", ".toml", ".sql", ".html", ".css")) or "/" not in file.path
    if by_hand and not _VENDORED.search(file.path) and not file.path.startswith("tests/golden/") and file.text and (
        not file.text.endswith("\n") or file.text.endswith("\n\n")
    ):
        yield f"{file.path}: must end with exactly one newline."


TEXT_RULES: tuple[Callable[[Text], Iterator[str]], ...] = (leftovers, skips, machine_paths, last_newline)


def root_entries(names: Iterable[str]) -> Iterator[str]:
    """The root is a map of rooms, not a drawer."""
    for name in sorted(set(names) - ROOT_ENTRIES):
        yield f"{name}: does not belong in the root. Put it into agent/, server/, protocol/, installer/ or tests/."


def constraint_lines(text: str) -> Iterator[str]:
    """Only name==version lines: one for each package, none of ours, no hashes, no addresses."""
    seen: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        name = re.split("==", line)[0].lower().replace("_", "-")
        if not _PINNED.fullmatch(line):
            yield f"constraints.txt:{number}: {line!r} is not a plain name==version line."
        elif name.startswith("tillbridge"):
            yield f"constraints.txt:{number}: {name} is ours and is on no index. Remove the line."
        elif name in seen:
            yield f"constraints.txt:{number}: {name} is named twice. Keep one line."
        seen.add(name)


def plugin_folder(folder: str, names: Iterable[str], needed: Iterable[str]) -> Iterator[str]:
    """A plugin is one folder with its sample and its page."""
    for name in sorted(set(needed) - set(names)):
        yield f"{folder}: has no {name}. The sample is default, documentation and test input; the README is its page."


def unpinned(requirements: Iterable[str], constraints: str) -> Iterator[str]:
    """Everything we install is pinned, so that tomorrow's install is today's."""
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in constraints.splitlines()}
    for requirement in requirements:
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower().replace("_", "-")
        if not name.startswith("tillbridge-") and name not in pinned:
            yield f"{requirement}: not in constraints.txt. Add the line name==version you tested with."
