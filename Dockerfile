FROM python:3.11-slim

# The package index that PyTorch is installed from. CUDA 12.6 runs with NVIDIA's driver 525 or later and on cards up to the H100. For cards
# that are newer, or for another version of CUDA:
#   docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
# For a smaller image without a GPU:
#   docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu .
# If it is empty, that is PyPI, whose wheels for Linux contain the newest CUDA.
ARG TORCH_INDEX="https://download.pytorch.org/whl/cu126"

# Hugging Face Spaces run a container as user 1000.
RUN useradd --create-home --uid 1000 user
USER user
ENV HOME=/home/user
ENV PATH=/home/user/.local/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    GRAFT_STORE=/home/user/graft

WORKDIR /home/user/app
COPY --chown=user requirements.txt .
RUN pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "torch>=2.6" "torchvision>=0.21"
RUN pip install -r requirements.txt
COPY --chown=user . .

# The embedded backbone is exported once here, so that the first run in the app is as fast as the next.
RUN python -m tl_core prepare

# Photographs for "Show me". Where they cannot be downloaded, the app shows its own rendered pictures.
RUN python -m tl_core prepare --photos || echo "The photographs are not in this image."

EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]

# The app listens on all interfaces of the container; only what `docker run -p` publishes can be reached from outside.
CMD ["python", "-m", "tl_core", "app", "--host", "0.0.0.0", "--port", "8501"]
