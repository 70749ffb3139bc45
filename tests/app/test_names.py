"""No name that a user typed is ever Markdown: `plain` is the one way into what Streamlit draws, on every page."""

import ast
import html
import re
from collections.abc import Iterator

import pytest
from google.protobuf.message import Message

from tests.app import records
from tests.app.conftest import ROOT, Open
from tl_core.data.checks import findings
from ui.places import PLACES, PREDICT
from ui.words import plain

IMAGE, COLOUR = "![i](logout)", ":red[y] <b>"
DRAWS = {
    *("markdown", "caption", "title", "header", "subheader", "error", "warning", "success", "info", "toast", "write"),
    *("button", "checkbox", "toggle", "radio", "segmented_control", "pills", "tabs", "expander", "popover", "dialog"),
    *("selectbox", "multiselect", "slider", "text_input", "number_input", "file_uploader", "download_button"),
    *("metric", "progress", "badge", "form_submit_button", "page_link", "image", "menu_button", "spinner", "status"),
}
"""What of Streamlit draws Markdown, at the least in its first argument and in its help."""
TYPED = {
    *("name", "names", "classes", "class_names", "message", "files", "truth", "given_group", "own", "source"),
    *("reasons", "note", "licence"),
}
"""What variables, attributes and keys are called that hold what somebody typed, or that quote it."""
KEYS = TYPED | {"label"}
OPTIONS = {
    "options",
    "format_func",
    "default",
    "key",
    "alt",
    "args",
    "kwargs",
    "file_name",
    "type",
    "icon",
    "on_click",
    "value",
}
"""Arguments that are no Markdown, or that a box to choose from shows as they are."""
OURS = {
    ("ui/ideas_page/ideas.py", "name"): "a name of our own",
    ("ui/ideas_page/ideas.py", "strategy.name"): "a row of the table",
    ("ui/train_page/advanced.py", "name"): "a level of augmentation",
    ("ui/train_page/advanced.py", "usual"): "a value of the recipe",
    ("ui/evaluate_page/robustness_panel.py", "names"): "headings of corruptions",
    ("ui/workspace.py", "place.name"): "a page",
    ("ui/data_page/dataset.py", "classes"): "a number with its noun",
}
"""Names that are in no user's hands, by file and expression."""


def _named(value: ast.expr) -> bool:
    while isinstance(value, ast.Subscript):
        if isinstance(value.slice, ast.Constant) and value.slice.value in KEYS:
            return True
        value = value.value
    return getattr(value, "attr", getattr(value, "id", None)) in TYPED


def _drawn(value: ast.AST) -> Iterator[ast.expr]:
    """What an argument puts into Markdown: itself, and what stands in its f-strings, but for what a call makes of it."""
    if isinstance(value, ast.FormattedValue):
        value = value.value
    if isinstance(value, ast.Call | ast.Lambda | ast.Compare | ast.BoolOp):
        return
    if isinstance(value, ast.expr) and _named(value):
        yield value
    elif isinstance(value, ast.IfExp):
        yield from (*_drawn(value.body), *_drawn(value.orelse))
    elif isinstance(value, ast.JoinedStr | ast.BinOp | ast.List | ast.Tuple | ast.Starred):
        for part in ast.iter_child_nodes(value):
            yield from _drawn(part)


def unsafe(source: str) -> list[str]:
    """The names that reach Markdown other than through `plain`, as they are written in `source`."""
    found = []
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef | ast.Module):
            continue
        made = {
            target.id
            for node in ast.walk(function)
            if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("plain(")
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for call in ast.walk(function):
            if not isinstance(call, ast.Call) or getattr(call.func, "attr", None) not in DRAWS:
                continue
            given = [*call.args[:1], *(more.value for more in call.keywords if more.arg not in OPTIONS)]
            found += [name for part in given for name in map(ast.unparse, _drawn(part)) if name not in made]
    return list(dict.fromkeys(found))


def test_every_name_reaches_markdown_through_plain() -> None:
    files = [*ROOT.glob("ui/**/*.py"), *ROOT.glob("pages/*.py"), ROOT / "streamlit_app.py"]
    wrong = [(str(file.relative_to(ROOT)), name) for file in files for name in unsafe(file.read_text(encoding="utf-8"))]
    assert [found for found in wrong if found not in OURS] == []


@pytest.mark.parametrize(
    "line",
    [
        "st.markdown(run.name)",
        "st.caption(f'of {manifest.classes[0]}')",
        "box.button('x', help=f'Look at {image.name}')",
        "st.selectbox(f'What about {own}', options)",
        "st.error('no ' + answer['label'])",
        "st.metric('a' if right else truth, 1)",
    ],
)
def test_the_lint_finds_a_name_that_is_drawn_as_it_is(line: str) -> None:
    assert unsafe(line)
    assert not unsafe(re.sub(r"(\w+(?:\.\w+)*\[[^]]+\]|\w+\.\w+(?=[})])|\bown\b|\btruth\b)", r"plain(\1)", line))


@pytest.mark.parametrize(
    "place", [place for place in PLACES.values() if place is not PREDICT], ids=lambda row: row.name
)
def test_no_page_draws_what_somebody_typed(open_page: Open, place: object) -> None:
    data = records.dataset(name=IMAGE, classes=(IMAGE, COLOUR, "cup"))
    records.run(data, name=IMAGE, state="failed")
    run = records.run(data, name=IMAGE)
    app = open_page(place.file, run=run.id)  # type: ignore[attr-defined]
    app.session_state[f"browse-{data.id}"] = True
    for index, finding in enumerate(findings(data.manifest())):
        app.session_state[f"finding-{finding.kind}-{index}-{data.id}-{data.number}-box"] = True
    app.run()
    drawn = list(_texts(app._tree))
    assert any("logout" in text for _, text in drawn) or place.name in ("Graft", "Ideas")  # type: ignore[attr-defined]
    assert [found for found in drawn if IMAGE in found[1] or COLOUR in found[1]] == []


AS_IT_IS = {
    "Selectbox.options",
    "MultiSelect.options",
    "Image.alt",
    "TextInput.default",
    "Html.body",
    "BidiComponent.json",
}
"""Where a browser shows text as it is, or a script of ours puts it into the page as text."""


def _texts(node: object) -> Iterator[tuple[str, str]]:
    """Every text that Streamlit draws below `node`, with where it stands."""
    proto = getattr(node, "proto", None)
    if isinstance(proto, Message):
        yield from _texts_in(proto)
    for child in getattr(node, "children", {}).values():
        yield from _texts(child)


def _texts_in(proto: Message) -> Iterator[tuple[str, str]]:
    for field, value in proto.ListFields():
        where = f"{proto.DESCRIPTOR.name}.{field.name}"
        for one in value if field.is_repeated and not field.message_type else [value]:
            if isinstance(one, str) and where not in AS_IT_IS and field.name not in ("id", "element_id", "spec"):
                yield where, one
        if field.message_type and not (field.is_repeated and field.message_type.GetOptions().map_entry):
            for one in value if field.is_repeated else [value]:
                yield from _texts_in(one)


LINK = re.compile(
    r"(https?://|www(?=\.))([-.\w]+)([^ \t\r\n]*)|(?:^|[\s\W])([-.\w+]+)@([-\w]+(?:\.[-\w]+)+)", re.IGNORECASE
)
"""What the browser makes a link of in finished text (mdast-util-gfm-autolink-literal 2)."""


@pytest.mark.parametrize("name", ["www.evil.org", "WWW.evil.org", "https://evil.org", "a@evil.org", "a (www.evil.org)"])
def test_no_link_comes_of_a_name_not_even_one_with_an_invisible_sign_in_its_host(name: str) -> None:
    finished = html.unescape(re.sub(r"\\(.)", r"\1", plain(name)))
    assert LINK.search(name)
    assert not LINK.search(finished)
    assert finished.replace("\u2060", "") == name
