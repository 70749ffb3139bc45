"""The classifier on a frozen backbone: fitted by L-BFGS on all features at once, or trained by gradient steps."""
