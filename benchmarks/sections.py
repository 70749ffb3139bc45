"""Documents of figures, section by section: a fresh section takes the place of the one with the same heading."""

import re
from pathlib import Path


def put(document: Path, heading: str, text: str, *, head: str) -> None:
    """Put `text` under the second-level `heading`: in its old place, or at the end. `head` begins a document that is new."""
    parts = re.split(r"(?m)^(?=## )", document.read_text() if document.exists() else head)
    fresh = f"## {heading}\n\n{text.strip()}\n"
    places = [number for number, part in enumerate(parts) if part.splitlines()[:1] == [f"## {heading}"]]
    if places:
        parts[places[0]] = fresh
    else:
        parts.append(fresh)
    document.write_text("\n".join(part.strip() + "\n" for part in parts if part.strip()))
