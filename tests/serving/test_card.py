"""The model card says what was measured and lets no name that a user typed act as Markdown or HTML."""

import re
import subprocess
import sys

import pytest
from markdown_it import MarkdownIt
from PIL import Image

from tests.serving.conftest import bundle_info
from tl_core.documents.bundle_info import BundleInfo
from tl_core.documents.report import (
    Calibration,
    ClassMetrics,
    ImageAnswer,
    Reliability,
    Report,
    SplitMetrics,
)
from tl_core.documents.spec import TrainSpec
from tl_core.serving.bundle import Bundle
from tl_core.serving.card import model_card
from tl_core.statements import Source

NOTHING = Reliability(bins=(), ece=0.0)


def report() -> Report:
    rows = tuple(
        ClassMetrics(name=name, precision=0.9, recall=0.8, f1=0.85, support=20) for name in ("red", "green", "blue")
    )
    test = SplitMetrics(
        images=60,
        accuracy=0.9,
        interval=(0.8, 0.95),
        macro_f1_interval=(0.7, 0.9),
        macro_f1=0.85,
        log_loss=0.3,
        per_class=rows,
        confusion=((20, 0, 0), (0, 20, 0), (6, 0, 14)),
    )
    return Report(
        classes=("red", "green", "blue"),
        images={"train": 280, "val": 60, "test": 60},
        refused_files=0,
        own_split=False,
        test=test,
        val=test,
        answers=(),
        calibration=Calibration(before=NOTHING, after=NOTHING),
        trainable_parameters=12,
        total_parameters=100,
    )


def card(info: BundleInfo, **changed: object) -> str:
    spec = TrainSpec(
        name="",
        workspace="0" * 32,
        dataset="0",
        weights=info.weights,
        backbone=info.backbone,
        image_size=224,
        device="cpu",
    )
    return model_card(Source(report=report().model_copy(update=changed), spec=spec), info)


def test_says_what_was_measured_in_the_words_of_the_statements() -> None:
    sure = ImageAnswer(row=0, truth=0, predicted=0, probability=0.9, truth_probability=0.9)
    text = card(bundle_info(threshold=0.8), answers=(sure,)).replace("\u202f", " ")
    assert "- **90 % right on 60 pictures it had never seen (80 to 95 %).**" in text
    assert "| class | precision | recall | F1 | pictures |" in text
    assert "| green | 90 % | 80 % | 85 % | 20 |" in text
    assert "BSD-3-Clause" in text
    assert "counts as “not sure”" in text


def test_no_name_becomes_markup_in_the_model_card() -> None:
    classes = ("<script>alert(1)</script>", "a\n# heading", "[x](http://evil)", "x" * 300, "| pipe |")
    text = card(bundle_info(classes=classes, name="![i](//evil)\n\n---"), classes=classes)
    assert "<script>" not in text
    assert "\n# heading" not in text
    assert "[x](" not in text
    assert "![i]" not in text
    assert "x" * 100 not in text


HOSTILE = (
    "https://evil.example/a?b=c",
    "http://[::1]/x",
    "www.evil.example",
    "//evil.example/x",
    "evil.com",
    "ftp://evil.example",
    "me@evil.example",
    "mailto:me@evil.example",
    "@octocat",
    "ping @org/team",
    "#123",
    "owner/repo#1",
    "GH-26",
    ":smile:",
    "<b>bold</b>",
    "&copy;",
    "[a](https://evil.example)",
    "[a]: https://evil.example",
    "![i](https://evil.example/i.png)",
    "<https://evil.example>",
    "`code` | **bold**",
    "\u202egpj.exe",
)
"""Names of classes, data sets and licences of which a renderer would make something."""


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_renderer_makes_no_link_mention_icon_or_markup_of_a_name(hostile: str) -> None:
    rows = tuple(ClassMetrics(name=hostile, precision=0.9, recall=0.8, f1=0.85, support=20) for _ in range(3))
    test = report().test.model_copy(update={"per_class": rows})
    info = bundle_info(name=hostile, classes=(hostile, "b", "c"), licence=hostile, weights=hostile, backbone=hostile)
    tokens = MarkdownIt("gfm-like").parse(
        card(info, test=test, classes=info.classes, one_moment=(hostile,), headline=None)
    )
    parts = [part for token in tokens for part in (token, *(token.children or ()))]
    assert not [part.type for part in parts if part.type in ("link_open", "image", "html_inline", "html_block")]
    text = [part.content for part in parts if part.type in ("text", "text_special")]
    everything = "".join(text)
    assert not re.search(r"(?i)@[\w\[]|#\d|\bgh-\d|:[\w+-]+:|://\w", everything)
    assert everything.replace("\u2060", "").count(" ".join(hostile.replace("\u202e", " ").split())) >= 5


def test_a_name_reads_as_it_was_typed() -> None:
    html = MarkdownIt("gfm-like").render(card(bundle_info(name="дом_1 (v1.2) & co")))
    assert "<h1>дом_1 (v1.2) &amp; co</h1>" in html


def test_the_code_in_it_answers_as_the_predictor_does(bundle: Bundle) -> None:
    code = re.search(r"```python\n(.*?)```", card(bundle.info), re.DOTALL)
    assert code is not None
    Image.new("RGB", (300, 200), (10, 240, 10)).save(bundle.folder / "picture.jpg")
    done = subprocess.run([sys.executable, "-c", code[1]], cwd=bundle.folder, capture_output=True, text=True)
    assert done.stdout.strip() == "green", done.stderr
