"""From the options of a run to a job that runs."""
