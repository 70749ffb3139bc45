"""The pages, and where in them a user is: the workspace, and the data set and run that are open. Draws nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass

import streamlit as st

from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.store import Workspace

HOME = "streamlit_app.py"
DATA, TRAIN, EVALUATE, PREDICT = "pages/1_Data.py", "pages/2_Train.py", "pages/3_Evaluate.py", "pages/4_Predict.py"
IDEAS = "pages/5_Ideas.py"
"""Not a step: reading beside them."""
STEPS = (
    ("Data", DATA, ":material/photo_library:"),
    ("Train", TRAIN, ":material/model_training:"),
    ("Evaluate", EVALUATE, ":material/fact_check:"),
    ("Predict", PREDICT, ":material/center_focus_strong:"),
)


def draft() -> str | None:
    """The staging folder's name of the data set that is put together class by class: the session's, or the URL's."""
    kept = st.session_state.get("draft") or st.query_params.get("draft") or ""
    return kept if re.fullmatch(r"[0-9a-f]{16}", kept) else None


def touring() -> bool:
    """Whether Show me is on; part of the URL, so that it survives a reload."""
    return bool(st.query_params.get("tour"))


@dataclass(frozen=True)
class Here:
    """Where the user is: the workspace, and the data set and run that are open in it."""

    workspace: Workspace
    dataset: DatasetFolder | None
    run: RunFolder | None

    def query(self, *, dataset: str | None = None, run: str | None = None) -> dict[str, str]:
        """Query parameters of a link that keeps the place, with another data set or run where one is named.

        Another data set closes the open run, and another run the open data set: its own is opened with it.
        """
        open_run = run or (None if dataset else self.run and self.run.id)
        open_dataset = dataset or (None if run else self.dataset and self.dataset.id)
        parts = {
            "workspace": self.workspace.token,
            "dataset": open_dataset,
            "run": open_run,
            "tour": "on" if touring() else None,
            "draft": draft(),
        }
        return {name: value for name, value in parts.items() if value}

    def go(self, page: str, *, dataset: str | None = None, run: str | None = None) -> None:
        """Open another page of this workspace; does not return."""
        if dataset:
            # Whoever opens a data set has stopped bringing another one.
            st.session_state["bring"] = "no"
        st.switch_page(page, query_params=self.query(dataset=dataset, run=run))
