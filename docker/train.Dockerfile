# syntax=docker/dockerfile:1
# avtrain and avprep with PyPI's torch, whose wheels bring CUDA, cuDNN and NCCL: the host needs a driver for CUDA 13
# (580 or newer) and the NVIDIA container toolkit. Build it from the repository's root:
#   docker build -f docker/train.Dockerfile -t avtrain .
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS wheel
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir --constraint docker/constraints.txt setuptools \
    && pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheel .

FROM ${PYTHON_IMAGE}
# The compiler is for pretrain --compile.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
COPY docker/constraints.txt /etc/avtrain/
# The large part does not change with the code: it is a layer of its own.
RUN pip install --no-cache-dir --constraint /etc/avtrain/constraints.txt torch torchaudio torchvision
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    set -- /wheel/*.whl \
    && pip install --no-cache-dir --constraint /etc/avtrain/constraints.txt "$1[s3,gcs,tensorboard,pseudo]"
COPY --chmod=755 docker/exit-as-told docker/train-node /usr/local/bin/
# torch asks for the user's name, which an arbitrary user of a container has not.
ENV HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib \
    NUMBA_CACHE_DIR=/tmp/numba \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    NVIDIA_VISIBLE_DEVICES=all \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    USER=avtrain
WORKDIR /tmp
USER 1000:1000
CMD ["avtrain", "doctor"]
