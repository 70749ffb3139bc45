"""What the Ideas page is made of: the ideas behind the choices, and what a network sees in a picture."""
