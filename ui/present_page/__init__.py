"""What the page Present is made of: a run told in slides, for a room."""
