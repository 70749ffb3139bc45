"""Strategies: the table, which one to take, what learns under each, schedules and optimizers."""
