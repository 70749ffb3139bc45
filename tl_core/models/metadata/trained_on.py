"""What timm's tags say of the pictures that a set of weights learned from. Knows no network, no torch.

A tag strings together how and on what: `fcmae_ft_in22k_in1k` learned ImageNet-1k without labels, then ImageNet-22k, then
ImageNet-1k.
"""

from __future__ import annotations

import re

CAPTIONS = "pictures with captions"
DATA = {
    "in1k": "ImageNet-1k",
    "in12k": "ImageNet-12k",
    "in21k": "ImageNet-21k",
    "inw21k": "ImageNet-21k",
    "in22k": "ImageNet-22k",
    "lvd142m": "LVD-142M without labels",
    "lvd1689m": "LVD-1689M without labels",
    "sat493m": "SAT-493M without labels",
    "laion2b": f"LAION-2B, {CAPTIONS}",
    "laion400m": f"LAION-400M, {CAPTIONS}",
    "laiona": f"LAION-A, {CAPTIONS}",
    "openai": f"OpenAI's {CAPTIONS}",
    "datacompxl": f"DataComp-XL, {CAPTIONS}",
    "datacomp1b": f"DataComp-1B, {CAPTIONS}",
    "dfn2b": f"DFN-2B, {CAPTIONS}",
    "dfn5b": f"DFN-5B, {CAPTIONS}",
    "dfndr2b": f"DFNDR-2B, {CAPTIONS}",
    "webli": f"WebLI, {CAPTIONS}",
    "metaclip": f"MetaCLIP's {CAPTIONS}",
    "metaclip2": f"MetaCLIP's {CAPTIONS}",
    "merged2b": f"Merged-2B, {CAPTIONS}",
    "yfcc15m": f"YFCC-15M, {CAPTIONS}",
    "yfcc100m": "YFCC-100M",
    "cc12m": f"CC-12M, {CAPTIONS}",
    "jft": "JFT-300M",
    "ig1b": "Instagram-1B by hashtags",
    "swag": "photos from Instagram by their hashtags",
    "seer": "photos from Instagram without labels",
    "sa1b": "SA-1B",
    "m38m": "Merged-38M",
    "m30m": "Merged-30M",
}
SELF_TAUGHT = ("fcmae", "mim", "mae", "dino", "ijepa")
"""Ways to learn from pictures without their labels; without other data it was ImageNet-1k's."""


def trained_on(tag: str | None) -> str:
    """In words, in the order in which it happened; says so where the tag does not."""
    before, _, after = (tag or "").partition("_ft_")
    first = _data(before)
    if any(word in SELF_TAUGHT for word in before.split("_")):
        learned = first or ["ImageNet-1k"]
        first = [f"{learned[0]} without labels", *learned[1:]]
    if before and after and not first:
        first = [f"what timm's tag calls {before!r}"]
    steps = [*first, *_data(after)]
    if steps:
        return ", then ".join(steps)
    return f"not stated by timm (its tag is {tag})" if tag else "not stated by timm"


def _data(words: str) -> list[str]:
    # Older tags run two together: in22ft1k.
    spelled = re.sub(r"\bin(\d+)k?ft(\d+)k\b", r"in\1k_in\2k", words.replace("_", " ")).replace("_", " ")
    return [DATA[word] for word in spelled.split() if word in DATA]
