"""Reads a story as a browser does, without any browser: its tags, its texts, its tables."""

from collections.abc import Iterator
from html.parser import HTMLParser

_VOID = {"meta", "img", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """The tags with their attributes, and the text of each place, as they stand in the file."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open, "every tag is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in _VOID:
            self._open.append(tag)
            if tag in ("tr", "li", "figure", "figcaption", "h1", "h2", "h3", "p", "td", "th", "dt", "dd", "title"):
                self.texts.append(((tag, "start"), ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((tuple(self._open), data))

    @property
    def text(self) -> str:
        """All that is read, without the style sheet; thin spaces are plain ones."""
        said = "".join(text for place, text in self.texts if "style" not in place)
        return " ".join(said.replace("\u202f", " ").split())

    def inside(self, tag: str) -> Iterator[str]:
        """The text of each element of that tag, in their order."""
        parts: list[str] = []
        for place, text in self.texts:
            if place == (tag, "start"):
                if parts:
                    yield " ".join("".join(parts).replace("\u202f", " ").split())
                parts = [""]
            elif parts and tag in place:
                parts.append(text)
        if parts:
            yield " ".join("".join(parts).replace("\u202f", " ").split())

    def rows(self, heading: str) -> list[list[str]]:
        """The cells of the rows of the table whose first heading is `heading`, without its headings."""
        rows: list[list[str]] = []
        for place, text in self.texts:
            if place == ("tr", "start"):
                rows.append([])
            elif place in (("td", "start"), ("th", "start")):
                rows[-1].append("")
            elif "tr" in place and rows and rows[-1]:
                rows[-1][-1] += text.replace("\u202f", " ").strip()
        starts = [number for number, row in enumerate(rows) if row[0] == heading]
        found = rows[starts[0] + 1 :]
        return [row for row in found if len(row) == len(rows[starts[0]])]
