"""XML that may come from anywhere: no entities, nothing fetched, bounded in size, depth and number of elements."""

from __future__ import annotations

import codecs
import re
from functools import lru_cache
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from ssl_ecg.records.record import RecordError

MAX_BYTES = 256 * 2**20
MAX_DEPTH = 64
MAX_ELEMENTS = 250_000

_BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_BARE = {b"<\0": "utf-16-le", b"\0<": "utf-16-be"}
_DECLARED = re.compile(rb"\s*<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9._-]{1,30})[\"']")
# Of the codecs of Python those in which somebody writes XML; others can take quadratic time.
_CODECS = re.compile(r"(utf|iso|latin|windows|cp|us|ascii|gb|big5|shift|euc)[\w-]*", re.IGNORECASE)
_NAME = re.compile(r"<([A-Za-z_][\w.\-]*:)?([A-Za-z_][\w.\-]*)")


def decode(content: bytes) -> str:
    """Decode XML by its byte order mark or its declaration; Latin-1 where it is not what it says."""
    for mark, encoding in (_BOMS | _BARE).items():
        if content.startswith(mark):
            return content.decode(encoding, errors="replace")
    declared = _DECLARED.match(content)
    named = declared[1].decode("ascii") if declared else "utf-8"
    for encoding in (named, "utf-8"):
        try:
            if _CODECS.fullmatch(encoding) and not encoding.lower().startswith("utf-16"):
                return content.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
    return content.decode("latin-1")


@lru_cache(maxsize=4)  # several readers ask for the same file
def root_name(head: bytes) -> str:
    """Return the name, without prefix, of the element that the first bytes of a file open first; empty if none."""
    text, at = decode(head), 0
    while True:
        while at < len(text) and (text[at].isspace() or text[at] == "\ufeff"):
            at += 1
        if text.startswith("<?", at):
            closed, mark = text.find("?>", at), 2
        elif text.startswith("<!--", at):
            closed, mark = text.find("-->", at), 3
        elif text.startswith("<!", at):
            bracket, closed, mark = text.find("[", at), text.find(">", at), 1
            if 0 <= bracket < closed:
                closed, mark = text.find("]", bracket), 1
                closed = text.find(">", closed) if closed >= 0 else -1
        else:
            match = _NAME.match(text, at)
            return match[2] if match else ""
        if closed < 0:
            return ""
        at = closed + mark


def is_web_page(head: bytes) -> bool:
    """Whether the first bytes are those of HTML, such as an error that was saved in place of a recording."""
    return root_name(head).lower() == "html" or head[:256].lstrip().lower().startswith((b"<!doctype html", b"<html"))


def parse_xml(path: Path) -> Element:
    """Read a document; names lose their prefixes, a DOCTYPE is passed over.

    Raises:
        RecordError: it is not well-formed, declares an entity, or is larger or deeper than any recording.
    """
    if path.stat().st_size > MAX_BYTES:
        raise RecordError("too large", f"XML of more than {MAX_BYTES >> 20} MiB")
    builder = _Builder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.tree.data
    parser.EntityDeclHandler = builder.entity
    try:
        parser.Parse(decode(path.read_bytes()), True)
    except expat.ExpatError as error:
        raise RecordError(
            "XML", f"is not well-formed in line {error.lineno} ({expat.ErrorString(error.code)})"
        ) from error
    except RecordError:
        raise
    except ValueError as error:  # characters that no encoding holds
        raise RecordError("XML", "is not well-formed") from error
    return builder.tree.close()


class _Builder:
    """Handlers of the parser, which count as they build."""

    def __init__(self) -> None:
        self.tree = TreeBuilder()
        self.depth = self.elements = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        self.elements += 1
        if self.depth > MAX_DEPTH or self.elements > MAX_ELEMENTS:
            raise RecordError("XML", f"is nested deeper than {MAX_DEPTH} or has more than {MAX_ELEMENTS} elements")
        kept = {key.rpartition(":")[2]: value for key, value in attributes.items() if not key.startswith("xmlns")}
        self.tree.start(name.rpartition(":")[2], kept)

    def end(self, name: str) -> None:
        self.depth -= 1
        self.tree.end(name.rpartition(":")[2])

    def entity(self, *declaration: object) -> None:
        raise RecordError("XML", "declares entities, which no recording needs")


def text_of(element: Element | None, path: str) -> str:
    """Return the text of the first element below another, in one line; empty where there is none."""
    found = None if element is None else element.find(path)
    return "" if found is None else " ".join("".join(found.itertext()).split())
