"""The files of the repository as the tidy rules see them: every text file, modules with their syntax tree."""

import ast
import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: The package roots below which our own modules live.
PACKAGES = {"protocol/tillbridge_protocol", "agent/tillbridge_agent", "server/tillbridge_server"}
_TEXT = {".py", ".md", ".toml", ".txt", ".sql", ".html", ".css", ".js", ".json", ".csv", ".ini", ".service", ""}


@dataclass(frozen=True)
class Text:
    """A text file; `path` is relative to the root, with forward slashes."""

    path: str
    text: str

    @property
    def lines(self) -> list[str]:
        """The lines without their ends."""
        return self.text.splitlines()


@dataclass(frozen=True)
class Module(Text):
    """A Python file with its syntax tree."""

    tree: ast.Module

    @classmethod
    def of(cls, path: str, text: str) -> "Module":
        """Parse the text of a module."""
        return cls(path, text, ast.parse(text, path))

    @property
    def package(self) -> str | None:
        """`tillbridge_agent` for a file of the agent's package, None for tests and tools."""
        parts = self.path.split("/")
        return parts[1] if "/".join(parts[:2]) in PACKAGES else None

    @property
    def room(self) -> tuple[str, ...]:
        """The folders and the file name below the package (or below the root): ("core", "delta.py")."""
        parts = tuple(self.path.split("/"))
        return parts[2:] if self.package else parts

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Every function and method, nested ones too."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node

    def imports(self, *, types_too: bool = True) -> Iterator[tuple[int, str]]:
        """(line, dotted name) of everything imported; `from a import b` gives `a.b`.

        Imports under `if TYPE_CHECKING:` name types only; without `types_too` they are left out.
        """
        types_only = {
            inner for node in ast.walk(self.tree)
            if isinstance(node, ast.If) and dotted(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
            for part in node.body for inner in ast.walk(part)
        }
        for node in ast.walk(self.tree):
            if not types_too and node in types_only:
                continue
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    package = self.path.removesuffix(".py").split("/")[1 : -node.level or None]
                    base = ".".join([*package, *([base] if base else [])])
                yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)

    def calls(self) -> Iterator[tuple[ast.Call, str]]:
        """Every call with the dotted name of what is called (`dt.datetime.now`), "" when it has none."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield node, dotted(node.func)


def dotted(node: ast.expr) -> str:
    """`a.b.c` of a name or attribute chain, "" of anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{base}.{node.attr}" if (base := dotted(node.value)) else f"?.{node.attr}"
    return ""


@cache
def ignored_names() -> tuple[str, ...]:
    """The name patterns of .gitignore."""
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    return tuple(line.strip().strip("/") for line in lines if line.strip() and not line.startswith("#"))


def is_ours(path: Path) -> bool:
    """False for what git ignores and for git itself."""
    return path.name != ".git" and not any(fnmatch.fnmatch(path.name, pattern) for pattern in ignored_names())


@cache
def files() -> tuple[Path, ...]:
    """Every file of the repository that git would keep, sorted."""

    def below(folder: Path) -> Iterator[Path]:
        for path in sorted(folder.iterdir()):
            if is_ours(path):
                yield from below(path) if path.is_dir() else (path,)

    return tuple(below(ROOT))


@cache
def texts() -> tuple[Text, ...]:
    """Every file written by hand; test inputs of other encodings are left out."""
    found = []
    for path in files():
        if path.suffix.lower() not in _TEXT:
            continue
        try:
            found.append(Text(relative(path), path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            assert relative(path).startswith("tests/"), f"{relative(path)} is not UTF-8: save it as UTF-8."
    return tuple(found)


@cache
def modules() -> tuple[Module, ...]:
    """Every Python file with its syntax tree."""
    return tuple(Module.of(text.path, text.text) for text in texts() if text.path.endswith(".py"))


def relative(path: Path) -> str:
    """The path from the root, with forward slashes."""
    return path.relative_to(ROOT).as_posix()
