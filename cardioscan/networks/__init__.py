"""The four networks in PyTorch; needs the extra ``train``."""
