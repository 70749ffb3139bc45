"""Small questions that a worker answers, by what they are about."""
