"""On the Data page: labels that are probably wrong, worst first, and what more pictures would bring; and pictures of the map to decide about.

They come one at a time beside those that look most like them, by mouse or by keyboard. A decision is kept in the data set's folder at once,
among the remedies that wait to become a version.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from tl_core.data.checks import problem
from tl_core.documents.manifest import Manifest, Remedies
from tl_core.documents.report import Growth, Lookalikes
from tl_core.documents.tasks import LabelReview, LabelReviewSpec
from tl_core.evaluation.suspects import LEAST_LIKELY
from tl_core.runs.store.folders import DatasetFolder
from tl_core.runs.tasks.ask import already_answered
from ui import asking, grids
from ui.actions import attempt
from ui.data_page import changes
from ui.places import Here
from ui.words import interval, percent, plain, plural

KEYS = "By keyboard: K keeps, M moves, X leaves out, the arrows go on and back."


@dataclass(frozen=True)
class Candidate:
    """A picture to decide about."""

    row: int
    """Its row in the manifest."""
    suggested: int
    """Index of the class that it may belong to."""
    lookalikes: Lookalikes
    said: str
    """Why it is looked at, in Markdown."""


def _spec(here: Here, dataset: DatasetFolder) -> LabelReviewSpec:
    return LabelReviewSpec(workspace=here.workspace.token, dataset=dataset.id, version=dataset.number)


def answer(here: Here, dataset: DatasetFolder) -> LabelReview | None:
    """What was found when the labels of this version were looked at; None where they were not."""
    return already_answered(here.workspace, _spec(here, dataset), LabelReview)


def to_decide(dataset: DatasetFolder, manifest: Manifest, review: LabelReview | None) -> bool:
    """Whether there are pictures to decide about, which come before all others on the page."""
    suspects = (
        [manifest.images[suspect.row] for suspect in review.suspects]
        if review
        else [image for image in manifest.images if image.suspicion]
    )
    return any(not image.reviewed for image in suspects) or bool(taken(dataset))


def show(here: Here, dataset: DatasetFolder, manifest: Manifest, review: LabelReview | None) -> None:
    """The button, the progress, and the `review` of the labels; nothing where no run can start on the data set."""
    if problem(manifest):
        return
    from_map = taken(dataset)
    if from_map:
        with st.expander(
            f"{plural(len(from_map), 'picture')} from the map",
            icon=":material/lasso_select:",
            expanded=True,
            key=f"taken-{dataset.id}",
        ):
            st.button("Done with these", icon=":material/done_all:", on_click=take, args=(dataset, ()))
            st.caption(KEYS)
            decide_one_by_one(dataset, manifest, from_map)
        return
    if review is None:
        suspected = to_decide(dataset, manifest, None)
        asking.panel(
            here.workspace,
            _spec(here, dataset),
            "Review the labels beside similar pictures" if suspected else "Look for wrong labels",
            key="review-labels",
            icon=":material/label_off:",
            help="Small classifiers judge pictures that they have not learned from, and say what more pictures would bring",
        )
        return
    _suspects(dataset, manifest, review)
    st.markdown(f":material/trending_up: {twice(review.growth, manifest.classes)}")


def _suspects(dataset: DatasetFolder, manifest: Manifest, review: LabelReview) -> None:
    candidates = [
        Candidate(
            row=suspect.row,
            suggested=suspect.suggested,
            lookalikes=near,
            said=f"Labelled **{plain(manifest.classes[suspect.label])}**, which has a probability of {percent(suspect.label_probability)} by "
            f"classifiers that had not seen the picture. They suggest **{plain(manifest.classes[suspect.suggested])}**, "
            f"{percent(suspect.suggested_probability)}.",
        )
        for suspect, near in zip(review.suspects, review.lookalikes, strict=True)
        if not manifest.images[suspect.row].reviewed
    ]
    if not candidates:
        st.markdown(":material/label: No label looks wrong.")
        return
    title = f"{plural(len(candidates), 'label')} may be wrong: unlikely to classifiers that had not seen the picture (under {percent(LEAST_LIKELY)})"
    with st.expander(
        title, icon=":material/label_off:", key=f"suspect-labels-{dataset.id}", on_change="rerun", expanded=True
    ) as box:
        if box.open:
            st.caption(
                f"The least likely label comes first. Some of these pictures are only hard: look before you decide. {KEYS}"
            )
            decide_one_by_one(dataset, manifest, candidates)


def twice(growth: Growth, classes: tuple[str, ...]) -> str:
    """What twice as many pictures would bring, in a sentence."""
    now = percent(growth.accuracies[-1])
    better = f"{percent(growth.twice)} ({interval(*growth.interval)})"
    photograph = (
        "" if growth.photograph is None else f" The class to photograph is **{plain(classes[growth.photograph])}**."
    )
    return (
        f"A fitted last layer is right in {now} now; with twice as many pictures of every class: {better}.{photograph}"
    )


def take(dataset: DatasetFolder, candidates: Sequence[Candidate]) -> None:
    """Review `candidates` in place of the suspect labels; none ends that."""
    st.session_state[_taken_key(dataset)] = tuple(candidates)


def taken(dataset: DatasetFolder) -> tuple[Candidate, ...]:
    """The candidates that were taken to the review of this version, in this session."""
    candidates: tuple[Candidate, ...] = st.session_state.get(_taken_key(dataset), ())
    return candidates


def _taken_key(dataset: DatasetFolder) -> str:
    return f"taken-{dataset.id}-{dataset.number}"


def decide_one_by_one(dataset: DatasetFolder, manifest: Manifest, candidates: Sequence[Candidate]) -> None:
    """The current one of `candidates`, the decisions, how many were made, and all candidates to choose from. One review fits on a page."""
    waiting = dataset.versions.gathered()
    files = [manifest.images[candidate.row].file for candidate in candidates]
    made = [changes.decided(waiting, file) for file in files]
    done = sum(map(bool, made))
    key = f"review-{dataset.id}-{dataset.number}"
    at = _at(key, candidates, made)
    st.progress(done / len(candidates), text=f"{done:,} of {plural(len(candidates), 'picture')} decided")
    st.markdown(candidates[at].said)
    _decisions(dataset, manifest, candidates, made, at, key)
    _beside(dataset, manifest, candidates[at])
    if waiting:
        changes.apply_button(dataset, waiting, key="apply-reviewed")
    images = [manifest.images[candidate.row] for candidate in candidates]
    labelled = [
        f"picture {number}, labelled {manifest.classes[image.label]}" for number, image in enumerate(images, start=1)
    ]

    def look(number: int) -> None:
        st.button(
            _said(waiting, images[number].file),
            key=f"{key}-look-{number}",
            help=f"Look at {plain(labelled[number], longest=60)}",
            type="primary" if number == at else "tertiary",
            on_click=_go,
            args=(key, candidates[number].row),
        )

    thumbnails = [dataset.thumbnail(image) for image in images]
    grids.grid(thumbnails, [""] * len(images), key=f"{key}-all", tile=110, alts=labelled, under=look)


def _said(waiting: Remedies, file: str) -> str:
    words = {changes.KEEP: "kept", changes.LEAVE_OUT: "left out", None: "undecided"}
    return words.get(changes.decided(waiting, file)) or f"to {plain(waiting.move[file], longest=12)}"


def _at(key: str, candidates: Sequence[Candidate], made: Sequence[str | None]) -> int:
    """The place of the current candidate: the one that was gone to, else the first that is not decided."""
    rows = [candidate.row for candidate in candidates]
    chosen = st.session_state.get(key)
    if chosen in rows:
        return rows.index(chosen)
    return made.index(None) if None in made else 0


def _go(key: str, row: int) -> None:
    st.session_state[key] = row


def _decisions(
    dataset: DatasetFolder,
    manifest: Manifest,
    candidates: Sequence[Candidate],
    made: Sequence[str | None],
    at: int,
    key: str,
) -> None:
    candidate = candidates[at]
    image = manifest.images[candidate.row]
    others = [label for label in range(len(manifest.classes)) if label != image.label]
    to_key = f"{key}-to-{candidate.row}"
    moved = dataset.versions.gathered().move.get(image.file)
    first = candidate.suggested if moved is None else manifest.classes.index(moved)
    target = st.session_state.get(to_key, first)
    # Behind this one, the next that is not decided; then from the beginning.
    order = [*range(at + 1, len(candidates)), *range(at)]
    following = candidates[next((place for place in order if made[place] is None), at)].row
    choices = [
        (changes.KEEP, f"Keep as {plain(manifest.classes[image.label], longest=24)}", "K", ":material/check:"),
        (
            f"{changes.MOVE}{manifest.classes[target]}",
            f"Move to {plain(manifest.classes[target], longest=24)}",
            "M",
            ":material/drive_file_move:",
        ),
        (changes.LEAVE_OUT, "Leave out", "X", ":material/delete:"),
    ]
    with st.container(horizontal=True, vertical_alignment="bottom", key="review-decisions"):
        for choice, label, shortcut, icon in choices:
            st.button(
                label,
                key=f"{key}-{shortcut}",
                icon=icon,
                shortcut=shortcut,
                type="primary" if made[at] == choice else "secondary",
                help="Once more takes the decision back" if made[at] == choice else None,
                on_click=attempt,
                args=(None, _decide, dataset, image.file, choice, key, following),
            )
        for label, shortcut, icon, step in (
            ("Previous", "Left", ":material/arrow_back:", -1),
            ("Next", "Right", ":material/arrow_forward:", 1),
        ):
            st.button(
                label,
                key=f"{key}-{label}",
                icon=icon,
                shortcut=shortcut,
                type="tertiary",
                disabled=len(candidates) == 1,
                on_click=_go,
                args=(key, candidates[(at + step) % len(candidates)].row),
            )
        if len(others) > 1:
            st.selectbox(
                "Class to move to",
                others,
                index=others.index(first),
                format_func=manifest.classes.__getitem__,
                key=to_key,
                width=200,
            )


def _decide(dataset: DatasetFolder, file: str, choice: str, key: str, following: int) -> None:
    """Keep the decision and go on; the same decision once more takes it back."""
    if changes.decided(dataset.versions.gathered(), file) == choice:
        changes.decide(dataset, file, None)
        return
    changes.decide(dataset, file, choice)
    _go(key, following)


def _beside(dataset: DatasetFolder, manifest: Manifest, candidate: Candidate) -> None:
    """The picture, large, and the nearest of its class and of the suggested one."""
    image = manifest.images[candidate.row]
    left, right = st.columns([2, 3], gap="medium")
    with left:
        name = plain(manifest.classes[image.label])
        grids.picture(dataset.image(image), alt=f"the picture to decide about, labelled {name}")
        st.caption(plain(image.name, longest=80))
    with right:
        for label, rows in (
            (image.label, candidate.lookalikes.of_label),
            (candidate.suggested, candidate.lookalikes.of_suggested),
        ):
            name = plain(manifest.classes[label])
            st.markdown(f"The most similar pictures of **{name}**")
            with st.grid(4, min_column_width=80, gap="small"):
                for row in rows:
                    grids.picture(dataset.thumbnail(manifest.images[row]), alt=f"a picture of {name}")
