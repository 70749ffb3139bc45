"""Home: what this is, a sample in one click, this workspace's data sets and runs."""

from ui import home, workspace

with workspace.page(
    "Graft", "Teach a computer to tell your pictures apart, in a minute, and know how far to trust it."
) as here:
    home.ways_in(here)
    home.welcome(here)
    home.datasets(here)
    home.runs(here)
    home.footer(here)
