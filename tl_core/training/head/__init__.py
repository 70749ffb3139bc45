"""The classifier on a frozen backbone: fitted in closed form, or trained by gradient steps."""
