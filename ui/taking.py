"""Pictures that a browser sends: which kinds its file chooser offers, and how long the server keeps them."""

from __future__ import annotations

from tl_core import settings
from tl_core.data.formats import READ
from ui.words import duration, plural

PICTURE_TYPES = ["image/*", *(extension for row in READ for extension in row.chooser)]
"""What the browser's file chooser offers; `image/*` makes a phone offer gallery and camera. The content is checked later, when the
data set is read.
"""


def keeping() -> str:
    """Sentences that say how long pictures stay on the server."""
    days = settings.keep_days()
    stay = (
        f"{duration(days * 86_400)} after you were last here"
        if 0 < days < 1
        else f"{plural(round(days), 'day')} after you were last here"
    )
    until = f"They are removed {stay}, or when you delete them." if days else "They stay until you delete them."
    return f"Pictures are kept on this server only; GPS and camera data are taken out as they are read. {until}"
