"""How a job runs: executor, worker's side, queue, recorder, device."""
