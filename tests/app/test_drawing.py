"""The picture of a network: what is drawn frozen, learning, slower, later; that it is built from escaped text alone."""

from xml.etree import ElementTree

import pytest

from tl_core.models.registry import Network, network
from tl_core.training.strategies.strategies import strategies, strategy
from ui import drawing


def _blocks(name: str, **changes: object) -> tuple[drawing.Block, ...]:
    return drawing.blocks(network("efficientnet_lite0"), strategy(name), stages=2, classes=6, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", list(strategies()))
def test_every_strategy_is_drawn_as_well_formed_svg_with_a_block_for_each_stage(name: str) -> None:
    drawn = _blocks(name)
    assert [block.name for block in drawn] == [*network("efficientnet_lite0").stages, "head"]
    assert sum(block.parameters for block in drawn[:-1]) == network("efficientnet_lite0").backbone_parameters
    tree = ElementTree.fromstring(drawing.small(drawn))
    outlined = [shape for shape in tree.iter("{http://www.w3.org/2000/svg}rect") if shape.get("stroke")]
    assert len(outlined) == len(drawn)


def test_the_drawing_shows_what_learns_and_how_fast() -> None:
    still = _blocks("feature_extraction", steps=False)
    assert [block.learns for block in still] == ["no"] * 8 + ["yes"]
    assert still[-1].rate is None
    last = _blocks("partial_fine_tuning")
    assert [block.learns for block in last] == ["no"] * 6 + ["yes"] * 3
    falling = [block.rate for block in _blocks("discriminative_lr")[:-1]]
    assert falling == sorted(falling, key=lambda rate: rate or 0)
    assert falling[0] < falling[-1]  # type: ignore[operator]
    joins = [block.joins for block in _blocks("gradual_unfreezing", epochs=8)]
    assert joins[-1] == 1
    assert joins[:-1] == sorted(joins[:-1], reverse=True)
    assert 1 < joins[7] < joins[0] <= 8
    assert {block.joins for block in _blocks("lp_ft")} == {1}
    assert {block.learns for block in _blocks("bias_and_norm")[:-1]} == {"part"}
    assert {block.learns for block in _blocks("surgical")[:-1]} == {"perhaps"}


def test_words_for_who_cannot_see_it() -> None:
    assert drawing.spoken(_blocks("partial_fine_tuning")) == "6 of 8 stages stay frozen, 2 and the head learn"
    assert "first ones slowest" in drawing.spoken(_blocks("discriminative_lr"))
    assert drawing.totals(_blocks("feature_extraction")) == "7,686 of 3.4 million parameters learn"
    assert drawing.totals(_blocks("full_fine_tuning")) == "all 3.4 million parameters learn"


def test_a_small_stem_is_seen_beside_millions_and_names_are_text() -> None:
    row = network("efficientnet_lite0")
    odd = Network.model_validate({**row.model_dump(), "stages": ("<script>&", *row.stages[1:])})
    drawn = drawing.blocks(odd, strategy("lp_ft"), stages=2, classes=6)
    sizes = drawing._sizes(drawn, 14, 116)
    assert min(sizes) >= 14
    assert max(sizes) == 116
    for svg in (drawing._wide(drawn, "#000"), drawing._tall(drawn, "#000")):
        assert "<script>" not in svg
        ElementTree.fromstring(svg)


def test_rates_are_written_as_people_write_them() -> None:
    assert [drawing.rate_text(rate) for rate in (3e-4, 0.00041, 1.0)] == ["3e-4", "4.1e-4", "1e0"]


def test_the_bars_of_an_answer_are_as_long_as_they_say_and_a_class_name_is_text() -> None:
    drawn = drawing.answer_bars(["<script>", "a" * 60], [0.934, 0.0004])
    rows = list(ElementTree.fromstring(drawn))
    assert [bar.get("style", "").partition("width:")[2].partition(";")[0] for bar, _ in rows] == ["93.4%", "0.0%"]
    assert [words.text for _, words in rows] == ["<script>: 93\u202f%", "a" * 25 + "…: under 0.1\u202f%"]
