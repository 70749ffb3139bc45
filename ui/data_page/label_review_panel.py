"""On the Data page: labels that are probably wrong, worst first, and what more pictures would bring."""

import streamlit as st

from tl_core.data.checks import problem
from tl_core.documents.manifest import Manifest
from tl_core.documents.report import Growth
from tl_core.documents.tasks import LabelReview, LabelReviewSpec
from tl_core.evaluation.suspects import LEAST_LIKELY
from tl_core.runs.store.folders import DatasetFolder
from tl_core.runs.tasks.ask import already_answered
from ui import asking
from ui.data_page import reviewing
from ui.data_page.reviewing import Candidate
from ui.places import Here
from ui.words import interval, percent, plain, plural

KEYS = "By keyboard: K keeps, M moves, X leaves out, the arrows go on and back."


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
    return any(not image.reviewed for image in suspects) or bool(reviewing.taken(dataset))


def show(here: Here, dataset: DatasetFolder, manifest: Manifest, review: LabelReview | None) -> None:
    """The button, the progress, and the `review` of the labels; nothing where no run can start on the data set."""
    if problem(manifest):
        return
    if taken := reviewing.taken(dataset):
        with st.expander(
            f"{plural(len(taken), 'picture')} from the map",
            icon=":material/lasso_select:",
            expanded=True,
            key=f"taken-{dataset.id}",
        ):
            st.button("Done with these", icon=":material/done_all:", on_click=reviewing.take, args=(dataset, ()))
            st.caption(KEYS)
            reviewing.show(dataset, manifest, taken)
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
            reviewing.show(dataset, manifest, candidates)


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
