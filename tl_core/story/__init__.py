"""Tells in one HTML file what a run learned from, how good it is and what it cannot do, for whoever was not there."""
