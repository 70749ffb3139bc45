"""What the pages share: workspace, charts, image grids, the live view of a run. Knows Streamlit; asks tl_core for everything else."""
