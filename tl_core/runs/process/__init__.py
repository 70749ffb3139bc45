"""How a job runs: executor, queue, recorder, device."""
