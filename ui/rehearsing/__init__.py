"""What Rehearse is made of: the dialog on Home that goes through the guided tour before people see it, and the question for the camera."""
