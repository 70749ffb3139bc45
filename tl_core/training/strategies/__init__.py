"""Strategies: which parameters learn, from which head, how fast, and which strategy suits a data set."""
