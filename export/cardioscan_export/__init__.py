"""From trained networks to released models: PyTorch checkpoints become the ONNX files of the model repository."""
