"""What computes the networks: their specs, ONNX Runtime, OpenVINO, quantization, caches, threads."""
