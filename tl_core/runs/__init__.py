"""Jobs: the store, where jobs run, the queue of a device, training runs and tasks."""
