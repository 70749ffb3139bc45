"""Home: what this is, a sample in one click, this workspace's data sets and runs."""

from ui import home, workspace
from ui.places import HOME
from ui.rehearsing import rehearse_dialog

with workspace.page(HOME) as here:
    home.ways_in(here)
    home.welcome(here)
    home.datasets(here)
    home.races(here)
    home.runs(here)
    home.of_another_version(here)
    home.footer(here)
    rehearse_dialog.show(here.workspace)
