"""Rules over one module: sizes, import directions, purity, docstrings, words. Each returns what to do, per finding."""

import ast
import re
from collections.abc import Callable, Iterator

from tests.tidy.tree import Module, dotted

MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60

#: Imports go this way only (DESIGN §4).
_MAY_IMPORT = {
    "tillbridge_protocol": {"tillbridge_protocol"},
    "tillbridge_agent": {"tillbridge_agent", "tillbridge_protocol"},
    "tillbridge_server": {"tillbridge_server", "tillbridge_protocol"},
}
#: Who may know the composition root of a program.
_APP_USERS = {"cli", "service", "__main__.py", "app.py"}

#: What a pure module may import: nothing here has a clock, disk, net, random or log behind it.
_PURE_IMPORTS = {
    "__future__", "abc", "array", "base64", "binascii", "bisect", "codecs", "collections", "contextlib", "copy",
    "csv", "dataclasses", "datetime", "decimal", "difflib", "enum", "fnmatch", "fractions", "functools", "gzip",
    "hashlib", "heapq", "hmac", "html", "io", "ipaddress", "itertools", "json", "math", "operator", "re",
    "statistics", "string", "struct", "textwrap", "types", "typing", "unicodedata", "urllib.parse", "zlib", "zoneinfo",
    "biip", "cryptography", "http_message_signatures", "http_sf", "msgspec", "typing_extensions",
    "pathlib.PurePath", "pathlib.PurePosixPath", "pathlib.PureWindowsPath",
    "random.Random",  # the type of an argument; making one is an impure call
}
#: Rooms of our own that a pure module may use: other pure rooms, the config structs and the error tree.
_PURE_ROOMS = {"core", "readers", "devices", "imports", "config", "errors"}
#: What does I/O beside the pure import formats.
_IMPORTS_IO = {"place.py"}
_IMPURE_CALLS = {
    "open", "print", "input", "exec", "eval", "__import__", "io.open", "codecs.open", "gzip.open",
    "datetime.now", "datetime.utcnow", "datetime.today", "date.today", "Random", "random.Random",
}
_IMPURE_METHODS = {
    "now", "utcnow", "today", "generate", "read_text", "read_bytes", "write_text", "write_bytes", "urandom",
}

#: Words of DESIGN §3, column "not", where they cannot mean anything else in a name we define.
_WORDS = {
    "parser": "reader", "transformer": "mapping", "pipeline": "feed", "job": "feed or change", "entity": "record",
    "payload": "batch, record or body", "registration": "enrollment", "ping": "heartbeat", "sku": "code or variant",
    "allocation": "reservation", "driver": "connector", "integration": "connector",
    "client": "agent or location", "timestamp": "as_of or at",
}


def sizes(module: Module) -> Iterator[str]:
    """Modules of at most 400 lines, functions of at most 60."""
    if len(module.lines) > MODULE_LINES_MAX:
        yield f"{module.path}: {len(module.lines)} lines. Split it by what it is about; {MODULE_LINES_MAX} is the most."
    for function in module.functions():
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        if lines > FUNCTION_LINES_MAX:
            yield (
                f"{module.path}:{function.lineno}: {function.name} has {lines} lines. "
                f"Name its steps and call them; {FUNCTION_LINES_MAX} is the most."
            )


def import_directions(module: Module) -> Iterator[str]:
    """protocol <- agent, protocol <- server; nothing of ours imports tests or another program."""
    if module.package is None:
        return
    allowed = _MAY_IMPORT[module.package]
    for line, name in module.imports():
        top = name.split(".")[0]
        if (top.startswith("tillbridge_") or top == "tests") and top not in allowed:
            yield (
                f"{module.path}:{line}: {module.package} must not import {top}. "
                "Move what both need to tillbridge_protocol, or pass it in from app.py."
            )


def app_is_the_top(module: Module) -> Iterator[str]:
    """Only the CLI starts app.py; everything else is built by it (and may name its types)."""
    if module.package is None or module.room[0] in _APP_USERS:
        return
    for line, name in module.imports(types_too=False):
        parts = name.split(".")
        if parts[0] == module.package and parts[1:2] == ["app"]:
            yield f"{module.path}:{line}: imports app.py. Take what you need as an argument; app.py passes it in."


def is_pure(module: Module) -> bool:
    """core/, readers/, devices/, imports/ without its placing, every wire.py and all of the protocol."""
    if module.package is None:
        return False
    return (
        module.package == "tillbridge_protocol"
        or module.room[0] in {"core", "readers", "devices"}
        or (module.room[0] == "imports" and module.room[1] not in _IMPORTS_IO)
        or module.room[-1] == "wire.py"
    )


def purity(module: Module) -> Iterator[str]:
    """No clock, disk, net, randomness or log in a pure room: `now` and `rng` are arguments."""
    if not is_pure(module):
        return
    for line, name in module.imports():
        if not _pure_import(module, name):
            yield (
                f"{module.path}:{line}: a pure room imports {name}. Take its result as an argument and do the "
                "reading, waiting or drawing in a room; if it truly is pure, add it to _PURE_IMPORTS with a word why."
            )
    for call, name in module.calls():
        method = name.rpartition(".")[2] if "." in name else ""
        if name in _IMPURE_CALLS or method in _IMPURE_METHODS:
            yield f"{module.path}:{call.lineno}: a pure room calls {name}(). Take the value as an argument instead."


def docstrings(module: Module) -> Iterator[str]:
    """Every module, and every public class and function of our packages, says its contract in a sentence."""
    text = ast.get_docstring(module.tree)
    if not text:
        yield f"{module.path}: no module docstring. Say in one sentence what may be in this file."
    elif not _is_sentence(text):
        yield f"{module.path}: the module docstring does not end its first paragraph with a full stop."
    if module.package is None:
        return
    for node in _public(module.tree):
        if not ast.get_docstring(node):
            yield f"{module.path}:{node.lineno}: {node.name} has no docstring. Say its contract in one sentence."


def words(module: Module) -> Iterator[str]:
    """Names we define use the words of DESIGN §3."""
    if module.package is None:
        return
    names = [(1, module.room[-1].removesuffix(".py"))]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.append((node.lineno, node.name))
    for line, name in names:
        for word in _split(name):
            if word == "sku" and module.room[0] == "dashboard":
                continue  # screens may say it for a variant's main code
            if word in _WORDS:
                yield f"{module.path}:{line}: {name} says '{word}'. Our word is {_WORDS[word]} (DESIGN §3)."


def literal_lookups(module: Module) -> Iterator[str]:
    """Plugins are looked up in a literal dict: nothing registers itself when imported."""
    if module.package is None:
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in node.decorator_list:
                called = decorator.func if isinstance(decorator, ast.Call) else decorator
                if re.search(r"(^|_|\.)register", ast.unparse(called)):
                    yield f"{module.path}:{node.lineno}: {node.name} registers itself. Add a line to the literal dict."


MODULE_RULES: tuple[Callable[[Module], Iterator[str]], ...] = (
    sizes, import_directions, app_is_the_top, purity, docstrings, words, literal_lookups,
)


def _pure_import(module: Module, name: str) -> bool:
    parts = name.split(".")
    if parts[0] == "tillbridge_protocol":
        return True
    if parts[0] == module.package:
        if parts[1] == "imports" and f"{'.'.join(parts[2:3])}.py" in _IMPORTS_IO:
            return False
        own = tuple(parts[1 : 1 + len(module.room) - 1]) == module.room[:-1]
        return parts[1] in _PURE_ROOMS or (module.room[-1] == "wire.py" and own and parts[len(module.room)] == "wire")
    return any(".".join(parts[:n]) in _PURE_IMPORTS for n in range(1, len(parts) + 1))


def _is_sentence(text: str) -> bool:
    return text.strip().split("\n\n")[0].rstrip().endswith((".", "!", "?", ":", ".)", ".`"))


def _public(tree: ast.Module) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    if not isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef) or inner.name.startswith("_"):
                        continue
                    if not _is_named_field(inner):
                        yield inner


def _is_named_field(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """A property of an interface without a body: a field, which the docstring of its class explains."""
    properties = [dotted(decorator) for decorator in node.decorator_list]
    return properties == ["property"] and [ast.unparse(part) for part in node.body] == ["..."]


def _split(name: str) -> list[str]:
    return [part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]
