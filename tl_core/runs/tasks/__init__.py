"""Tasks: `ask` makes one a job, and the module called as its `job` has the function `answer` that carries it out."""
