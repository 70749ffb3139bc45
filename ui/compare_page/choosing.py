"""Which runs the Compare page speaks of: those that its address names, else the two latest that can be compared."""

from collections.abc import Sequence

import streamlit as st

from tl_core.disk import modified
from tl_core.runs.comparing import Together, comparable_before, together
from tl_core.runs.store.folders import RunFolder
from ui import runview
from ui.places import COMPARE, TRAIN, Here, succeeded
from ui.words import distinct, plain

MOST = 8
"""The most runs that are compared at once: each further one makes the corrected p-values larger."""
_LOOKED_AT = 20
"""The latest runs among which two are looked for that can be compared."""
LETTERS = "ABCDEFGH"
"""The letter of each run on the page, in the order in which they were chosen."""
_together = st.cache_resource(
    max_entries=16,
    show_spinner=False,
    hash_funcs={RunFolder: lambda run: (str(run.path), run.name, modified(run.report_file))},
)(together)
"""As `together`, computed once for the same runs under the same names."""


def runs(here: Here) -> Together:
    """A box to choose runs, what keeps some of them from being compared, and the runs together; fewer than two where none can be."""
    finished = succeeded(here.workspace.runs())
    if len(finished) < 2:
        st.markdown(
            "There is one run here. Train another one, with other settings or on other pictures, to compare it with."
        )
        if st.button("Train another one", type="primary", icon=TRAIN.icon):
            here.go(TRAIN)
        return together([])
    by_id = {run.id: run for run in finished}
    names = distinct({run.id: runview.choice(run) for run in finished})
    named = [run for run in dict.fromkeys(st.query_params.get("compare", "").split(",")) if run in by_id][:MOST]
    chosen = st.multiselect(
        "Runs: the first one is A, with which the others are compared",
        list(names),
        default=named or [run.id for run in latest(finished)],
        format_func=names.__getitem__,
        max_selections=MOST,
        key=f"compared-{here.workspace.token}",
    )
    st.query_params["compare"] = ",".join(chosen)
    st.session_state["address"] = here.query()
    if len(chosen) < 2:
        st.caption("Choose two runs or more.")
        return together([])
    compared = _together([by_id[run] for run in chosen])
    for excluded in compared.left_out:
        st.warning(
            f"Not compared: **{plain(excluded.run.name)}**. {plain(excluded.reason, longest=600)}",
            icon=":material/compare_arrows:",
        )
    return compared


def offer(here: Here, run: RunFolder) -> None:
    """A button that compares `run` with another one, where there is one; see `beside`."""
    finished = succeeded(here.workspace.runs())
    if len(finished) > 1 and st.button("Compare with another run", icon=COMPARE.icon):
        here.go(COMPARE, run=run.id, compare=[one.id for one in beside(run, finished)])


def beside(run: RunFolder, finished: Sequence[RunFolder]) -> list[RunFolder]:
    """`run` and one of `finished` (newest first) to compare it with, the older one first.

    That is the one before it, on the same data set if possible, in whichever version; else one after it; else any.
    """
    before = comparable_before(run, finished[:_LOOKED_AT])
    if before:
        return [before, run]
    others = [other for other in finished[:_LOOKED_AT] if other.id != run.id]
    return [run, next((other for other in reversed(others) if len(together([run, other]).tested) == 2), others[0])]


def latest(finished: Sequence[RunFolder]) -> list[RunFolder]:
    """The two latest of `finished`, newest first, that share at least half of their test pictures, the older one first; else the two latest."""
    for run in finished[:_LOOKED_AT]:
        before = comparable_before(run, finished[:_LOOKED_AT])
        if before:
            return [before, run]
    return [finished[1], finished[0]]
