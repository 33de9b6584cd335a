"""Losses, tasks, the training loop and resuming; needs the extra ``train``."""
