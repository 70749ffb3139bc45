import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import picture
from tl_core.cli import main
from tl_core.data import samples
from tl_core.models.graphs import export
from tl_core.runs.process import devices


@pytest.fixture(autouse=True)
def exported(monkeypatch: pytest.MonkeyPatch) -> None:
    def there(*_: object) -> Iterator[None]:
        yield from ()
        return Path("backbone")

    monkeypatch.setattr(export, "exported_backbone", there)
    monkeypatch.setattr(devices, "time_processor", lambda folder: None)


def test_photographs_that_are_here_are_not_fetched_again(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = samples.smallest_photos()
    assert row.how.startswith("downloads")
    folder = samples.kept(row.name) / "church"
    folder.mkdir(parents=True)
    picture(0, 0).save(folder / "1.jpg")
    assert row.how == "here now"
    assert main(["prepare", "--photos", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["photos"], said["photos_folder"]) == (row.name, str(store / "samples" / row.name))


def test_without_a_network_it_says_so_and_the_backbone_is_ready(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # No proxy listens there, so nothing can be fetched from this test, wherever it runs.
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert main(["prepare", "--photos"]) == 2
    out, err = capsys.readouterr()
    assert "is ready." in out
    assert "could not be downloaded" in err
    assert "Check the network" in err
