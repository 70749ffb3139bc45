"""Puts the stages together as jobs: store, queue, worker, pipeline. Knows no browser."""
