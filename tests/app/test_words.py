"""Names and numbers as a person reads them."""

import sysconfig
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tl_core.children import SOURCE
from ui import words
from ui.server_paths import shortened_log


@pytest.mark.parametrize("name", ["a*b*", "[x](y)", "<b>", "`c`", ":red[d]", "$e$", "# f", "~g~", "|h|"])
def test_markup_in_a_name_is_escaped(name: str) -> None:
    escaped = words.plain(name)
    assert all(escaped[index - 1] == "\\" for index, letter in enumerate(escaped) if letter in "*[]()<>`:$#~|")


def test_a_name_stays_on_one_line_and_short() -> None:
    assert "\n" not in words.short("a\nb\x00c")
    assert len(words.short("x" * 300)) == 48


@pytest.mark.parametrize("name", [":material/home:", ":dog:"])
def test_no_icon_comes_of_a_name(name: str) -> None:
    assert "\u2060" in words.plain(name)


def test_no_path_of_the_server_and_no_token_is_shown(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    token = "0123456789abcdef" * 2
    job = f"{store}/workspaces/{token}/runs/ab12"
    log = "\n".join(
        [
            f'  File "{sysconfig.get_path("purelib")}/torch/nn.py", line 3, in forward',
            f'  File "{SOURCE}/tl_core/runs/worker.py", line 60',
            f"OSError: [Errno 5] Input/output error: '{job}/best.safetensors', see {tmp_path}/home/notes.txt",
            f"The store {store}. workspace='{token}', and cat/1.jpg or https://example.org/tmp/x",
        ]
    )
    shown = shortened_log(log)
    assert not [hidden for hidden in (str(tmp_path), str(SOURCE), "site-packages", token) if hidden in shown]
    for kept in (
        "…/torch/nn.py",
        "…/tl_core/runs/worker.py",
        "…/runs/ab12/best.safetensors",
        "…/notes.txt",
        "The store …. ",
    ):
        assert kept in shown
    assert "cat/1.jpg or https://example.org/tmp/x" in shown
    assert token not in words.plain(f"There is no {job}/x.", longest=400)


def test_of_a_name_of_megabytes_only_the_beginning_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[int] = []
    monkeypatch.setattr(words, "shortened", lambda text: looked_at.append(len(text)) or text)
    assert words.plain("/a" * 1_000_000, longest=5) == "\\/a\\/a…"
    assert looked_at == [10_000]

    class Long(str):
        def __iter__(self) -> Iterator[str]:
            raise AssertionError("all of it is looked at")

    assert words.label(Long("a" * 20_000), longest=3) == "aa…"


@pytest.mark.parametrize(
    ("write", "numbers", "said"),
    [
        (words.percent, [0.934], "93 %"),
        (words.percent, [0.625], "63 %"),
        # Nearly all is not all.
        (words.percent, [0.998], "99.8 %"),
        (words.percent, [0.99999], "99.9 %"),
        (words.percent, [0.0001], "under 0.1 %"),
        (words.percent, [1.0], "100 %"),
        (words.percent, [0.0], "0 %"),
        # 9,980 of 10,000: both ends were written as 100.
        (words.interval, [0.9969, 0.9987], "99.7 to 99.9 %"),
        (words.interval, [0.0, 0.0012], "0.0 to 0.1 %"),
        (words.interval, [1.0, 1.0], "100 to 100 %"),
        (words.interval, [0.9, 0.95], "90 to 95 %"),
        (words.duration, [0.2], "1 s"),
        (words.duration, [75], "75 s"),
        (words.duration, [150], "2 min 30 s"),
        (words.duration, [4000], "1 h 6 min"),
    ],
)
def test_numbers_are_written_as_people_write_them(
    write: Callable[..., str], numbers: Sequence[float], said: str
) -> None:
    assert write(*numbers).replace("\u202f", " ") == said


def test_labels_that_are_alike_are_told_apart_and_keep_their_meaning() -> None:
    assert words.distinct({"b": "Cats", "a": "Cats"}) == {"b": "Cats (2)", "a": "Cats"}
    newer = words.distinct({"d": "Cats (2)", "c": "Cats", "b": "Cats", "a": "Cats"})
    assert list(newer) == ["d", "c", "b", "a"]
    assert (newer["a"], newer["b"], newer["c"]) == ("Cats", "Cats (2)", "Cats (3)")
    assert len(set(newer.values())) == 4
