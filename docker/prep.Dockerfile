# syntax=docker/dockerfile:1
# avprep without torch and CUDA; decoders come in wheels. Build it from the repository's root:
#   docker build -f docker/prep.Dockerfile -t avprep .
#   docker build -f docker/prep.Dockerfile -t avprep-ray --target ray .
# It runs as any user and on a read-only root; it writes to /tmp and to the folders named in its call.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS wheel
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir --constraint docker/constraints.txt setuptools \
    && pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheel .

FROM ${PYTHON_IMAGE} AS packages
COPY docker/constraints.txt docker/prep.txt /etc/avprep/
RUN pip install --no-cache-dir --requirement /etc/avprep/prep.txt --constraint /etc/avprep/constraints.txt
ENV HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib \
    NUMBA_CACHE_DIR=/tmp/numba \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    USER=avprep
WORKDIR /tmp

# KubeRay starts ray itself and asks after its health by wget.
FROM packages AS ray
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends wget \
    && rm -rf /var/lib/apt/lists/* \
    && pip install --no-cache-dir --constraint /etc/avprep/constraints.txt "ray[default]"
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel pip install --no-cache-dir --no-deps /wheel/*.whl
USER 1000:1000

FROM packages AS prep
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel pip install --no-cache-dir --no-deps /wheel/*.whl
USER 1000:1000
ENTRYPOINT ["avprep"]
CMD ["doctor"]
