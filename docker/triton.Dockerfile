# The official Triton with CardioScan in its Python, which the model ecg_digitizer needs. From the top of the checkout:
#   docker build -f docker/triton.Dockerfile -t cardioscan-triton .
# 25.03 is Triton 2.56 with TensorRT 10.9, for which `cardioscan repository --flavour tensorrt` names its plans; another
# tag needs another --tensorrt-version. It needs compute capability 7.5 or newer and driver 560 or newer (data center
# GPUs: also 470.57, 525.85, 535.86 or 545.23 and newer of these lines).
FROM nvcr.io/nvidia/tritonserver:25.03-py3

COPY . /src
# Ubuntu 24.04 guards its Python against pip; in this image Triton's backend runs on that very Python.
RUN pip3 install --no-cache-dir --break-system-packages /src && rm -rf /src

# A named volume takes over owner and mode of the folder that it is mounted on. The image has the user triton-server, 1000.
RUN install -d -o 1000 -g 1000 /var/cache/cardioscan/tensorrt
USER 1000:1000
EXPOSE 8000 8001 8002
HEALTHCHECK --interval=15s --timeout=5s --start-period=1800s --retries=3 \
    CMD ["curl", "--fail", "--silent", "--max-time", "4", "http://127.0.0.1:8000/v2/health/ready"]
CMD ["tritonserver", "--model-repository=/models", "--model-control-mode=none", "--disable-auto-complete-config", \
     "--exit-timeout-secs=30"]
