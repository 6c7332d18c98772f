# The gateway as an image: one virtual environment on a slim Python, nothing that compiles.
#
#   docker build .                                    wheels come from the package index, by hash
#   docker build --secret id=pip,src=pip.conf .       from an index of your own: pip's settings never
#                                                     enter a layer
#   docker build --build-context wheels=DIR .         from a directory of wheels, without a network
#   docker build --build-arg BASE=IMAGE@sha256:… .    on another base: Debian-like, Python 3.11 or newer
#                                                     with venv; pin its digest where you release
#
# It runs as uid 10001 under a read-only root. Probes belong to whoever runs it: no HEALTHCHECK.

ARG BASE=docker.io/library/python:3.11-slim-bookworm

# Empty here; `--build-context wheels=DIR` takes its place.
FROM scratch AS wheels

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1
WORKDIR /build
# Build tools live in an environment of their own, which stays behind.
RUN python3 -m venv tools && python3 -m venv --without-pip /opt/gateway
COPY requirements/build.txt requirements/run.txt requirements/
# `--only-binary`: a package without a wheel for this base fails here, instead of wanting a compiler.
RUN --mount=type=bind,from=wheels,target=/wheels \
    --mount=type=secret,id=pip,target=/etc/pip.conf \
    set -eu; \
    if ls /wheels/*.whl >/dev/null 2>&1; then export PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels; fi; \
    tools/bin/pip install --require-hashes --only-binary=:all: -r requirements/build.txt; \
    tools/bin/pip --python /opt/gateway/bin/python install --no-compile --no-deps \
        --require-hashes --only-binary=:all: -r requirements/run.txt
COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
# Bytecode is compiled once, here, and never checked again: a read-only root could not keep it.
RUN set -eu; \
    tools/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir dist .; \
    tools/bin/pip --python /opt/gateway/bin/python install --no-compile --no-index --no-deps dist/*.whl; \
    /opt/gateway/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/gateway/lib; \
    tools/bin/pip --python /opt/gateway/bin/python check

FROM ${BASE}
ARG REVISION=unknown
LABEL org.opencontainers.image.title="job-result-gateway" \
      org.opencontainers.image.description="Job results from Kafka reach AWS CodePipeline once, in order, soon." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/gateway /opt/gateway
ENV PATH=/opt/gateway/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# By number, so that Kubernetes can see that it is not root; it has no home to write to.
USER 10001:10001
WORKDIR /
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["gateway"]
CMD ["run"]
