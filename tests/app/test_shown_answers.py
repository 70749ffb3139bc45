"""What an empty Home shows of the embedded sample, and the way from there straight to Predict."""

import numpy as np
from PIL import Image

from tests.app import records
from tests.app.conftest import Open, text
from tl_core.data.samples import SAMPLES, SHOWN
from tl_core.version import __version__
from ui import shown_answers
from ui.words import percent


def test_what_is_shown_was_answered_by_this_version_to_pictures_that_are_there() -> None:
    kept = shown_answers.kept()
    assert kept.version == __version__, "make answers writes it anew"
    assert len({one.truth for one in kept.answers}) == SAMPLES[SHOWN].classes
    assert any(one.truth != one.answer for one in kept.answers)
    for one in kept.answers:
        assert one.picture.parent.name.replace("_", " ") == one.truth
        with Image.open(one.picture) as picture:
            assert np.asarray(picture).ndim == 3


def test_an_empty_home_shows_the_answers_and_how_many_were_right(open_page: Open) -> None:
    kept = shown_answers.kept()
    app = open_page()
    said = text(app)
    of_all = f"Of all {kept.cross_validated.images} it names {percent(kept.cross_validated.accuracy)} rightly"
    assert of_all in said
    for one in kept.answers:
        assert f"**{one.answer}** {percent(one.probability)}" in said
    mistake = next(one for one in kept.answers if one.truth != one.answer)
    assert f"it is a {mistake.truth}" in said
    records.dataset()
    assert of_all not in text(open_page())


def test_from_home_to_predict_without_a_click_between(open_page: Open) -> None:
    dataset = records.dataset()
    run = records.run(dataset)
    app = open_page("pages/1_Data.py", dataset=dataset.id, tour="try")
    assert "**Try it.** Your turn" in text(app)
    assert app.query_params["run"] == run.id
    assert app.query_params["tour"] == "try"
