"""HTML pages as a browser would take them apart, for tests of what is on them."""

from __future__ import annotations

import base64
import dataclasses
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "input", "img", "line", "path", "br"}


@dataclasses.dataclass
class Element:
    """One element: its attributes, all text inside it, the elements inside it."""

    tag: str
    attributes: dict[str, str]
    text: str = ""
    inside: list[Element] = dataclasses.field(default_factory=list)

    def all(self, tag: str, css: str = "") -> list[Element]:
        return [e for e in self.inside if e.tag == tag and (not css or css in e.attributes.get("class", "").split())]


class Page(HTMLParser):
    """The elements of a page; an end tag without its start is an error."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text()
        self.root = Element("page", {})
        self._open = [self.root]
        self.feed(self.source)
        assert [e.tag for e in self._open[1:]] == ["html"] or len(self._open) == 1

    def handle_starttag(self, tag, attrs):
        element = Element(tag, {name: value or "" for name, value in attrs})
        for outer in self._open:
            outer.inside.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self._open.pop().tag == tag

    def handle_data(self, data):
        for element in self._open:
            element.text += data

    def all(self, tag: str, css: str = "") -> list[Element]:
        return self.root.all(tag, css)


def data_of(element: Element) -> bytes:
    return base64.b64decode(element.attributes["src"].split(";base64,")[1])
