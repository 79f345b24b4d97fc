"""Every block of code in the documentation is tried: commands by a shell and the verbs, Python by its names.

Blocks between ``` that are marked ``sh``, and indented ones that begin a line with a command, are read by bash with
stand-ins for the programs, so that quotes, loops and comments mean what they mean to a reader; each ``ssl-ecg`` line is
then resolved by the settings of its verb. Python must be marked ``python``. What runs the whole way is in
``test_readme.py`` and ``test_my_archive.py``.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from markdown_it import MarkdownIt

import ssl_ecg
from ssl_ecg.backbones.registry import BACKBONES
from ssl_ecg.cli import main
from ssl_ecg.verbs import VERBS, Verb

ROOT = Path(__file__).resolve().parents[1]
PATTERNS = ("*.md", "docs/**/*.md", "*/README.md", "tests/*/README.md")
PAGES = {str(path.relative_to(ROOT)) for pattern in PATTERNS for path in ROOT.glob(pattern)}
NAMES = sorted(page for page in PAGES if not page.startswith((".", "build")))
PROGRAMS = ("ssl-ecg", "python", "pip", "make", "torchrun", "srun", "dask")
COMMAND = re.compile(rf"^(for |(\w+=\S* )*({'|'.join(PROGRAMS)}) )", re.MULTILINE)
PLACEHOLDER = re.compile(r"([\w.]+=)?(NAME|\.\.\.)")
# Programs that say what they were given, and nothing else.
STAND_INS = "\n".join(f"{name}() {{ printf '%s\\0' {name} \"$@\"; printf '\\n\\0'; }}" for name in PROGRAMS)


class Reached(Exception):
    """A verb would begin its work."""


@pytest.fixture(autouse=True)
def _stopped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise Reached

    for name in VERBS.names():
        monkeypatch.setattr(VERBS[name], "run", stop)
    monkeypatch.setattr(BACKBONES, "_things", {**BACKBONES._things, "example": BACKBONES["xresnet1d18"]})
    monkeypatch.chdir(tmp_path)


def blocks(page: str) -> Iterator[tuple[str, str]]:
    """Yield language and text of each block; where none is named, it is told by its lines."""
    for token in MarkdownIt().parse((ROOT / page).read_text(encoding="utf-8")):
        if token.type == "fence":
            yield token.info.strip() or _told(token.content), token.content
        elif token.type == "code_block":
            yield _told(token.content), token.content


def _told(text: str) -> str:
    return "sh" if COMMAND.search(text) else ""


def spans(page: str) -> Iterator[str]:
    """Yield the commands that stand in sentences."""
    for token in MarkdownIt().enable("table").parse((ROOT / page).read_text(encoding="utf-8")):
        for child in token.children or ():
            if child.type == "code_inline" and child.content.startswith("ssl-ecg "):
                yield child.content


def commands(page: str) -> list[list[str]]:
    """Return what each command of a page's blocks is given, as a shell reads it."""
    script = "\n".join([STAND_INS, *(text for language, text in blocks(page) if language == "sh")])
    ran = subprocess.run(
        ["/bin/bash", "-euc", script], env={"PATH": "", "SSL_ECG_DATA": "ecgs"}, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    return [part.split("\0")[:-1] for part in ran.stdout.split("\n\0") if part]


def check_verb(arguments: list[str], whole: bool = True) -> None:
    """Resolve a command line up to where the verb would begin; in a sentence paths may be left out."""
    if arguments[0] in ("VERB", "NAME") or arguments[0].startswith("--"):
        return
    given = [word for word in arguments if not PLACEHOLDER.fullmatch(word)]
    verb = VERBS[given[0]]
    if not whole:
        verb.compose([word for word in given[1:] if "=" in word])
    elif "--help" in given:
        assert main(given) == 0
    else:
        with pytest.raises(Reached):
            main(given)


def check_python(arguments: list[str]) -> None:
    script, *rest = arguments
    if script.startswith("OUT/"):  # what a verb writes
        return
    text = (ROOT / script).read_text(encoding="utf-8")
    assert [word for word in rest if word.startswith("--") and f'"{word}"' not in text] == []


def check_pip(arguments: list[str]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert arguments[0] == "install"
    found = re.fullmatch(r"(\.|ssl_ecg)(?:\[(\w+)\])?", arguments[1])
    assert found
    assert found[2] is None or found[2] in extras


def check_make(arguments: list[str]) -> None:
    for target in arguments:
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE), target


def check_launched(arguments: list[str]) -> None:
    (begin,) = (place for place, word in enumerate(arguments) if word in ("ssl-ecg", "ssl_ecg"))
    check_verb(arguments[begin + 1 :])


CHECKS = {
    "ssl-ecg": check_verb,
    "python": check_python,
    "pip": check_pip,
    "make": check_make,
    "torchrun": check_launched,
    "dask": lambda arguments: None,  # another package's command
    "srun": check_launched,
}


@pytest.mark.parametrize("page", NAMES)
def test_every_command_can_be_given(page: str) -> None:
    for program, *arguments in commands(page):
        try:
            CHECKS[program](arguments)
        except BaseException as error:
            error.add_note(f"{page}: {shlex.join([program, *arguments])}")
            raise
    for command in spans(page):
        check_verb(shlex.split(command)[1:], whole=False)


@pytest.mark.parametrize("page", NAMES)
def test_python_is_marked_and_names_what_is_there(page: str) -> None:
    for language, text in blocks(page):
        assert language in ("", "sh", "python", "yaml", "csv"), f"{page}: {language}"
        if language == "python":
            check_names(ast.parse(text, page))
        else:
            assert not re.search(r"^(import|from) \w+|ssl_ecg\.\w+\(", text, re.MULTILINE), f"mark it python: {text}"


def check_names(tree: ast.Module) -> None:
    """Check that imports, what is taken from modules, and arguments by name exist; other values are not known."""
    known: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                imported = importlib.import_module(each.name)
                known[each.asname or each.name.partition(".")[0]] = imported
        elif isinstance(node, ast.ImportFrom):
            assert node.module
            if node.module.partition(".")[0] != "their_package":
                known |= {each.asname or each.name: _member(node.module, each.name) for each in node.names}

    def value(node: ast.expr) -> Any:
        if isinstance(node, ast.Name):
            return known.get(node.id)
        inner = value(node.value) if isinstance(node, ast.Attribute) else None
        return getattr(inner, node.attr) if isinstance(inner, ModuleType) else None

    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            value(node)
        elif isinstance(node, ast.Call) and (called := value(node.func)) is not None:
            if inspect.isbuiltin(called):  # has no signature
                continue
            parameters = inspect.signature(called).parameters
            if not any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
                unknown = [each.arg for each in node.keywords if each.arg not in parameters]
                assert unknown == [], f"{ast.unparse(node)}: {unknown}"


def _member(module: str, name: str) -> Any:
    imported = importlib.import_module(module)
    return getattr(imported, name) if hasattr(imported, name) else importlib.import_module(f"{module}.{name}")


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("import ssl_ecg\nssl_ecg.pretrain('archive', 'out', epocs=3)", AssertionError),
        ("import ssl_ecg\nssl_ecg.pretran('archive', 'out')", AttributeError),
        ("from ssl_ecg.tasks import Tusk", ModuleNotFoundError),
    ],
)
def test_a_wrong_name_is_found(text: str, broken: type[Exception]) -> None:
    with pytest.raises(broken):
        check_names(ast.parse(text))


def test_a_wrong_command_is_found() -> None:
    assert isinstance(VERBS["pretrain"], Verb)
    with pytest.raises(AssertionError):
        check_make(["tests-all"])
    with pytest.raises(ValueError, match="did you mean epochs"):
        check_verb(["pretrain", "...", "epocs=3"], whole=False)
    with pytest.raises(pytest.fail.Exception):  # main complains, and the verb is not reached
        check_verb(["pretrain", "archive", "encoder", "epocs=3"])


def texts(tree: ast.AST) -> Iterator[str]:
    """Yield the texts that code writes, with … for what it puts into them."""
    if isinstance(tree, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in tree.values)
    elif isinstance(tree, ast.Constant) and isinstance(tree.value, str):
        yield tree.value
    for child in ast.iter_child_nodes(tree):
        yield from texts(child)


def quoted() -> list[str]:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    first = re.findall(r"^\| (`.+?`(?:, `.+?`)*) \|", page, re.MULTILINE)
    return [message for cell in first for message in re.findall(r"`(.+?)`(?:, |$)", cell)]


def test_messages_of_the_error_index_are_those_of_the_code() -> None:
    code = {text for path in ROOT.glob("ssl_ecg/**/*.py") for text in texts(ast.parse(path.read_text("utf-8")))}
    messages = quoted()
    assert len(messages) > 60

    def written(message: str) -> bool:
        parts = message.split("…")
        longest, form = max(parts, key=len), ".*".join(map(re.escape, parts))
        return any(longest in text and re.search(form, text, re.DOTALL) for text in code)

    assert [message for message in messages if not written(message)] == []
    assert not written("no archive in …: there is no archive.jsn")


def test_the_reference_lists_every_public_name() -> None:
    listed = re.findall(r"^::: ssl_ecg\.(\S+)$", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
    for name in listed:
        room, _, member = name.rpartition(".")
        assert _member(f"ssl_ecg.{room}", member), name
    ends = {name.rpartition(".")[2] for name in listed}
    public = [*ssl_ecg._EXPORTS, *(VERBS[name].__name__ for name in VERBS.names())]
    assert sorted(set(public) - ends) == []


def test_every_page_stands_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    assert sorted(set(NAMES) - set(re.findall(r"[\w/]+\.md", menu))) == []
