"""What the READMEs must name: CLI verbs, config keys, codes; and what they quote must exist."""

import ast
import re
from collections.abc import Iterable, Iterator
from types import ModuleType

import click
import msgspec
from msgspec import inspect
from tests.tidy.tree import Module

_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$")
#: Module-level tables whose keys are codes.
_CODE_TABLES = re.compile(r"^_?(?:[A-Z_]*_)?(CODES|REASONS|HINTS)$")


def code_of(markdown: str) -> str:
    """Everything of a page that stands in code: fenced blocks and `spans`, one after the other."""
    fenced = "\n".join(block for _, block in _FENCE.findall(markdown))
    spans = "\n".join(re.findall(r"`+([^`\n]+)`+", _FENCE.sub("", markdown)))
    return f"{fenced}\n{spans}"


def named(word: str, code: str) -> bool:
    """Does the word stand by itself in the code of a page?"""
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", code) is not None


def verbs(group: click.Group, before: tuple[str, ...] = ()) -> Iterator[str]:
    """Every command of a CLI as typed: `quarantine list`."""
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from verbs(command, (*before, name))
        if not command.hidden and not (isinstance(command, click.Group) and not command.invoke_without_command):
            yield " ".join((*before, name))


def config_keys(module: ModuleType) -> dict[str, str]:
    """{key as written in the file: struct it belongs to} of the files a config module reads.

    Starts from its strict structs (they forbid unknown fields) and follows every struct inside them.
    """
    found: dict[str, str] = {}
    for value in vars(module).values():
        is_struct = isinstance(value, type) and issubclass(value, msgspec.Struct)
        if is_struct and value.__struct_config__.forbid_unknown_fields:
            _collect_keys(inspect.type_info(value), found, set())
    return found


def carriers(modules: Iterable[Module]) -> dict[str, int]:
    """{name: place} of every class or function that takes an argument named `code`, and its place (self left out)."""
    found: dict[str, int] = {}
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                names = _constructor_names(node)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name != "__init__":
                names = [argument.arg for argument in node.args.args if argument.arg != "self"]
            else:
                continue
            if "code" in names:
                found[node.name] = names.index("code")
    return found


def codes(module: Module, carrying: dict[str, int]) -> dict[str, int]:
    """{code: line} of every error, reason or problem code a module can give."""
    found: dict[str, int] = {}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            given = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            given += node.args[carrying[name] : carrying[name] + 1] if name in carrying else []
            for value in given:
                for text in (value.body, value.orelse) if isinstance(value, ast.IfExp) else (value,):
                    _add_code(found, text)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and _CODE_TABLES.match(target.id):
                for key in node.value.keys:
                    _add_code(found, key)
    return found


def missing(what: str, words: Iterable[str], code: str, page: str) -> Iterator[str]:
    """Words that a page does not name in code."""
    for word in words:
        if not named(word, code):
            yield f"{page} does not name the {what} `{word}`. Say there what it means and what to do."


def bad_commands(markdown: str, targets: set[str], programs: dict[str, set[str]], page: str) -> Iterator[str]:
    """Commands in ```sh blocks that no longer exist: make targets and verbs of our programs."""
    for language, block in _FENCE.findall(markdown):
        if language not in {"sh", "bash", "powershell", "console"}:
            continue
        for line in block.splitlines():
            for command in re.split(r"\s*(?:&&|\|\||;|\|)\s*", line.removeprefix("$ ").split(" #")[0].strip()):
                if problem := _bad_command(command.split(), targets, programs):
                    yield f"{page}: `{command}`: {problem}"


def make_targets(makefile: str) -> set[str]:
    """The targets of a Makefile that a person calls."""
    return set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


def quotes(markdown: str) -> Iterator[tuple[str, str]]:
    """(path, line) of every line quoted in a block that starts with `# like this (path)`."""
    for _, block in _FENCE.findall(markdown):
        path = ""
        for line in block.splitlines():
            if found := re.match(r"# like this \(([^)]+)\)", line):
                path = found[1]
            elif line.startswith("# "):
                path = ""
            elif path and line.strip() and line.strip() != "...":
                yield path, line


def _bad_command(words: list[str], targets: set[str], programs: dict[str, set[str]]) -> str:
    while words and re.match(r"^[A-Z_]+=", words[0]):
        words = words[1:]
    if not words:
        return ""
    program = re.split(r"[/\\]", words[0])[-1].removesuffix(".exe")
    rest = [word for word in words[1:] if not word.startswith("-")]
    if program == "make":
        wrong = [word for word in rest if "=" not in word and word not in targets]
        return f"the Makefile has no target {wrong[0]}." if wrong else ""
    if program in programs and rest:
        known = programs[program]
        if not any(verb == rest[0] or verb == " ".join(rest[:2]) for verb in known):
            return f"{program} has no verb {rest[0]}."
    return ""


def _constructor_names(node: ast.ClassDef) -> list[str]:
    for inner in node.body:
        if isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
            return [argument.arg for argument in inner.args.args[1:]]
    targets = [inner.target for inner in node.body if isinstance(inner, ast.AnnAssign)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _collect_keys(info: object, found: dict[str, str], seen: set[str]) -> None:
    if isinstance(info, inspect.StructType):
        if info.cls.__name__ in seen:
            return
        seen.add(info.cls.__name__)
        if info.tag_field:
            found.setdefault(info.tag_field, info.cls.__name__)
        for field in info.fields:
            found.setdefault(field.encode_name, info.cls.__name__)
    for inner in getattr(info, "__struct_fields__", ()):
        value = getattr(info, inner)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, inspect.Type | inspect.Field):
                _collect_keys(part, found, seen)


def _add_code(found: dict[str, int], value: ast.expr | None) -> None:
    if isinstance(value, ast.Constant) and isinstance(value.value, str) and _CODE.match(value.value):
        found.setdefault(value.value, value.lineno)
