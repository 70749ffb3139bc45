"""The bundle of a run on the page: what is in it, and the button that downloads it."""

import streamlit as st

from tl_core.runs.store.folders import RunFolder
from tl_core.serving.bundle import zip_parts
from tl_core.serving.bundle_files import BUNDLE_FILES
from ui.server.asgi import guarded
from ui.server.bundle_zips import Offered
from ui.words import file_stem


def take_home(run: RunFolder) -> None:
    """What the bundle holds, and a button that downloads it as a zip, which is made while it is sent."""
    st.header("Take it home", anchor=False)
    files = {name: row for name, row in BUNDLE_FILES.items() if (run.bundle / name).is_file()}
    if not files:
        st.markdown("This run has no bundle.")
        return
    size = sum((run.bundle / name).stat().st_size for name in files)
    st.markdown(
        f"Everything that is needed to use it elsewhere (bundle), {size / 1e6:.0f} MB:\n"
        + "\n".join(f"- `{name}`: {row.title}" for name, row in files.items())
    )
    st.download_button(
        "Download the bundle",
        lambda: zipped(run),
        file_name=f"{file_stem(run.name)}-bundle.zip",
        mime="application/zip",
        icon=":material/download:",
        on_click="ignore",
        key=f"bundle-{run.id}",
    )


def zipped(run: RunFolder) -> bytes:
    """The zip of the run's bundle, or what stands for it where this process serves the app with its guards."""
    # Streamlit alone can send only what is whole in memory.
    return Offered.of(run.bundle) if guarded() else b"".join(zip_parts(run.bundle))
