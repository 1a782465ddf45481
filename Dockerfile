# Easel's images, one target each:
#
#   gateway      the HTTP server; waits for workers
#   worker       SDXL on Cloud TPUs (linux/amd64)
#   worker-cuda  the same on NVIDIA GPUs (CUDA 13), several gigabytes
#   worker-cpu   the same without libtpu, for any machine; a third of the size
#   webapp       the web page, as a process of its own
#   all-in-one   gateway, worker-cpu and the demo model in one container
#
# On a machine with Docker, the demo model:
#
#   docker build --target all-in-one --tag easel .
#   docker run --rm --publish 8000:8000 --read-only --tmpfs /tmp easel
#
# Gateway and worker in two containers, connected by a socket on a volume:
#
#   docker run --detach --volume easel-run:/run/easel easel-worker-cpu
#   docker run --volume easel-run:/run/easel --publish 8000:8000 easel-gateway
#
# Needs BuildKit (cache mounts). docs/deploy-gke.md describes how it was tested, and the images' sizes.

FROM node:24.21.0-bookworm-slim AS node-base
WORKDIR /opt/easel

FROM python:3.11.18-slim-bookworm AS python-base
WORKDIR /opt/easel/python-worker


# --- Node: packages, program, user ----------------------------------------------------------------

FROM node-base AS node-packages
COPY package.json package-lock.json ./
RUN --mount=type=cache,target=/root/.npm npm ci --omit=dev --no-audit --no-fund

FROM node-base AS node-build
COPY package.json package-lock.json ./
RUN --mount=type=cache,target=/root/.npm npm ci --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY src src
RUN npm run build && rm -f dist/.tsbuildinfo

FROM node-base AS node-runtime
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini=0.19.0-* \
    && rm -rf /var/lib/apt/lists/* /usr/local/lib/node_modules /opt/yarn* \
    && groupadd --gid 10001 easel \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin easel \
    && install --directory --owner=easel --group=easel /run/easel
COPY --from=node-packages /opt/easel/node_modules node_modules
COPY LICENSE package.json ./
COPY --from=node-build /opt/easel/dist dist
ENV NODE_ENV=production \
    HOST=0.0.0.0
ENTRYPOINT ["/usr/bin/tini", "--"]


# --- Python: packages, program, user --------------------------------------------------------------

# A complete environment needs no pip.
FROM python-base AS worker-packages
COPY python-worker/requirements-tpu.lock ./
RUN --mount=type=cache,target=/root/.cache/pip python -m venv /opt/venv \
    && /opt/venv/bin/pip install --require-hashes --only-binary=:all: --requirement requirements-tpu.lock \
    && /opt/venv/bin/pip uninstall --yes pip setuptools

FROM python-base AS worker-cuda-packages
COPY python-worker/requirements-cuda.lock ./
RUN --mount=type=cache,target=/root/.cache/pip python -m venv /opt/venv \
    && /opt/venv/bin/pip install --require-hashes --only-binary=:all: --requirement requirements-cuda.lock \
    && /opt/venv/bin/pip uninstall --yes pip setuptools

FROM python-base AS worker-cpu-packages
COPY python-worker/requirements.lock ./
RUN --mount=type=cache,target=/root/.cache/pip python -m venv /opt/venv \
    && /opt/venv/bin/pip install --require-hashes --only-binary=:all: --requirement requirements.lock \
    && /opt/venv/bin/pip uninstall --yes pip setuptools

# Compile once here: at run time the file system may be read-only.
FROM python-base AS worker-program
COPY LICENSE /opt/easel/
COPY models/demo /opt/easel/models/demo
COPY models/sdxl-base-config /opt/easel/models/sdxl-base-config
COPY python-worker/easel_worker easel_worker
RUN python -m compileall -q easel_worker

FROM python-base AS python-runtime
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini=0.19.0-* \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 easel \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin easel \
    && install --directory --owner=easel --group=easel /run/easel
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MODEL=/opt/easel/models/demo
ENTRYPOINT ["/usr/bin/tini", "--"]


# --- gateway --------------------------------------------------------------------------------------

FROM node-runtime AS gateway
COPY models/demo models/demo
COPY models/sdxl-base-config models/sdxl-base-config
ENV PORT=8000 \
    WORKER=connect \
    WORKER_ENDPOINT=ipc:///run/easel/worker.sock
USER 10001:10001
EXPOSE 8000
CMD ["node", "dist/main.js"]
# Checks that it is alive, not ready: a gateway whose worker still compiles must not be restarted.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.ADMIN_PORT || process.env.PORT}/health/live`).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
ARG VERSION=unversioned
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Easel gateway" \
      org.opencontainers.image.description="HTTP gateway that serves SDXL text-to-image from an Easel worker" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"


# --- webapp ---------------------------------------------------------------------------------------

FROM node-runtime AS webapp
ENV PORT=5000
USER 10001:10001
EXPOSE 5000
CMD ["node", "dist/webapp/main.js"]
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/healthz`).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
ARG VERSION=unversioned
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Easel webapp" \
      org.opencontainers.image.description="Web page for an Easel gateway" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"


# --- worker ---------------------------------------------------------------------------------------

FROM python-runtime AS worker
COPY --from=worker-packages /opt/venv /opt/venv
COPY --from=worker-program /opt/easel /opt/easel
ENV EASEL_CONNECT=ipc:///run/easel/worker.sock
USER 10001:10001
CMD ["python", "-m", "easel_worker"]
# No health check: the worker has only a ZeroMQ connection to its gateway, and exits if it hangs.
HEALTHCHECK NONE
ARG VERSION=unversioned
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Easel worker" \
      org.opencontainers.image.description="JAX worker that holds SDXL on Cloud TPUs for an Easel gateway" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"


# --- worker-cuda ----------------------------------------------------------------------------------

FROM python-runtime AS worker-cuda
COPY --from=worker-cuda-packages /opt/venv /opt/venv
COPY --from=worker-program /opt/easel /opt/easel
# NVIDIA_*: what the container runtime adds from the host. GKE mounts the driver in /usr/local/nvidia
# instead. XLA_FLAGS: only kernels that give the same bytes each time.
ENV EASEL_CONNECT=ipc:///run/easel/worker.sock \
    JAX_PLATFORMS=cuda,cpu \
    LD_LIBRARY_PATH=/usr/local/nvidia/lib64 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    XLA_FLAGS=--xla_gpu_exclude_nondeterministic_ops=true
USER 10001:10001
CMD ["python", "-m", "easel_worker"]
HEALTHCHECK NONE
ARG VERSION=unversioned
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Easel worker-cuda" \
      org.opencontainers.image.description="JAX worker that holds SDXL on NVIDIA GPUs for an Easel gateway" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"


# --- worker-cpu -----------------------------------------------------------------------------------

FROM python-runtime AS worker-cpu
COPY --from=worker-cpu-packages /opt/venv /opt/venv
COPY --from=worker-program /opt/easel /opt/easel
ENV EASEL_CONNECT=ipc:///run/easel/worker.sock \
    JAX_PLATFORMS=cpu
USER 10001:10001
CMD ["python", "-m", "easel_worker"]
HEALTHCHECK NONE
ARG VERSION=unversioned
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Easel worker-cpu" \
      org.opencontainers.image.description="JAX worker that holds SDXL on CPUs for an Easel gateway" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"


# --- all-in-one -----------------------------------------------------------------------------------

FROM python-runtime AS all-in-one
COPY --from=worker-cpu-packages /opt/venv /opt/venv
COPY --from=worker-program /opt/easel /opt/easel
COPY --from=node-base /usr/local/bin/node /usr/local/bin/node
COPY --from=node-packages /opt/easel/node_modules /opt/easel/node_modules
COPY package.json /opt/easel/
COPY --from=node-build /opt/easel/dist /opt/easel/dist
WORKDIR /opt/easel
ENV NODE_ENV=production \
    HOST=0.0.0.0 \
    PORT=8000 \
    PYTHON=/opt/venv/bin/python \
    JAX_PLATFORMS=cpu
USER 10001:10001
EXPOSE 8000
CMD ["node", "dist/main.js"]
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.ADMIN_PORT || process.env.PORT}/health/live`).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
ARG VERSION=unversioned
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Easel all-in-one" \
      org.opencontainers.image.description="Easel with its demo model on CPU: gateway and worker in one container" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
