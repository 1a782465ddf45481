# Easel's two images, gateway and worker:
#
#   docker build --target gateway --tag easel-gateway .
#   docker build --target worker  --tag easel-worker .
#
# The worker's image is for Cloud TPUs (linux/amd64); JAX_PLATFORMS=cpu makes it run on any machine.
# A smaller one without libtpu: --build-arg WORKER_LOCK=requirements.lock
#
# Side by side on one machine, with the demo model:
#
#   docker run --detach --volume easel-run:/run/easel --env JAX_PLATFORMS=cpu easel-worker
#   docker run --volume easel-run:/run/easel --publish 8000:8000 easel-gateway
#
# Needs BuildKit (cache mounts). Checked by test/deploy/: it parses, hadolint finds nothing, every
# COPY has its source, every variable is an option that the program knows. Tried once by hand outside
# of Docker: the commands that install and build, and a picture made by the fake engine from just the
# files that are copied, as user 10001 with the same Node. NOT RUN so far: a build with a Docker
# engine, and so the base images, apt-get and the HEALTHCHECK's schedule.

FROM node:24.21.0-bookworm-slim AS node-base
WORKDIR /opt/easel

FROM python:3.11.18-slim-bookworm AS python-base
WORKDIR /opt/easel/python-worker


# --- gateway ------------------------------------------------------------------------------------

FROM node-base AS gateway-build
COPY package.json package-lock.json ./
RUN --mount=type=cache,target=/root/.npm npm ci --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY src src
RUN npm run build && rm -f dist/.tsbuildinfo

FROM node-base AS gateway-packages
COPY package.json package-lock.json ./
RUN --mount=type=cache,target=/root/.npm npm ci --omit=dev --no-audit --no-fund

FROM node-base AS gateway
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini=0.19.0-* \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 easel \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin easel \
    && install --directory --owner=easel --group=easel /run/easel
COPY LICENSE package.json ./
COPY protocol protocol
COPY models/demo models/demo
COPY --from=gateway-packages /opt/easel/node_modules node_modules
COPY --from=gateway-build /opt/easel/dist dist
ENV NODE_ENV=production \
    HOST=0.0.0.0 \
    PORT=8000 \
    WORKER=connect \
    WORKER_ENDPOINT=ipc:///run/easel/worker.sock
USER 10001:10001
EXPOSE 8000
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["node", "dist/main.js"]
# Alive, not ready: a gateway whose worker still compiles is not to be restarted.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/health/live`).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
ARG VERSION=unversioned
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Easel gateway" \
      org.opencontainers.image.description="HTTP gateway that serves SDXL text-to-image from an Easel worker" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"


# --- worker -------------------------------------------------------------------------------------

FROM python-base AS worker-packages
ARG WORKER_LOCK=requirements-tpu.lock
COPY python-worker/requirements.lock python-worker/requirements-tpu.lock ./
# The environment needs no pip of its own once it is filled.
RUN --mount=type=cache,target=/root/.cache/pip python -m venv /opt/venv \
    && /opt/venv/bin/pip install --require-hashes --only-binary=:all: --requirement "${WORKER_LOCK}" \
    && /opt/venv/bin/pip uninstall --yes pip setuptools

FROM python-base AS worker
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini=0.19.0-* \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 easel \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin easel \
    && install --directory --owner=easel --group=easel /run/easel
COPY LICENSE /opt/easel/
COPY --from=worker-packages /opt/venv /opt/venv
COPY models/demo /opt/easel/models/demo
COPY python-worker/easel_worker easel_worker
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    EASEL_CONNECT=ipc:///run/easel/worker.sock \
    MODEL=/opt/easel/models/demo
# Compiled once, here: at run time the file system may be read-only.
RUN python -m compileall -q easel_worker
USER 10001:10001
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["python", "-m", "easel_worker"]
ARG VERSION=unversioned
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Easel worker" \
      org.opencontainers.image.description="JAX worker that holds SDXL on Cloud TPUs for an Easel gateway" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
