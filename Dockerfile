# syntax=docker/dockerfile:1
# mouseflow-bot in a container: no compiler, no root, and nothing to write but /data.
#
#   docker build --tag mouseflow-bot .
#   docker run --rm mouseflow-bot demo
#   docker run --init --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
#     -v "$PWD/config.toml:/config.toml:ro" -v "$PWD/rules:/rules:ro" -v mouseflow:/data \
#     -e BOT_MOUSEFLOW__API_KEY -e BOT_SLACK__BOT_TOKEN mouseflow-bot
#
# Pin the base by digest: --build-arg BASE=python:3.11-slim@sha256:...
# Labels: --build-arg VERSION=0.1.0 --build-arg REVISION=$(git rev-parse HEAD)
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
# The build tools stay in this stage: the environment that is copied has not even pip.
RUN python -m venv --without-pip /opt/mouseflow-bot
# For a store in PostgreSQL: --build-arg REQUIREMENTS=requirements-postgres.txt
ARG REQUIREMENTS=requirements-notify.txt
COPY requirements-build.txt requirements-notify.txt requirements-postgres.txt ./
RUN pip install --require-hashes --only-binary :all: -r requirements-build.txt \
    && pip --python /opt/mouseflow-bot install --require-hashes --only-binary :all: \
        -r "$REQUIREMENTS"
COPY pyproject.toml hatch_build.py README.md LICENSE mouseflow_bot.py ./
COPY rules ./rules
COPY mouseflow ./mouseflow
COPY bot ./bot
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /tmp/wheel . \
    && pip --python /opt/mouseflow-bot install --no-deps --no-index /tmp/wheel/*.whl \
    && /opt/mouseflow-bot/bin/python -m compileall -q /opt/mouseflow-bot

FROM ${BASE}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="mouseflow-bot" \
    org.opencontainers.image.description="Watches a Mouseflow account by rules" \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
# Python's images have no bytecode of the standard library. Without it every start and every health
# check would compile what it imports: 0.4 s and 0.2 s.
RUN python -m compileall -q -x '/(idlelib|lib2to3|tkinter|turtledemo|ensurepip|config-.*)/' \
        "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
COPY --from=build /opt/mouseflow-bot /opt/mouseflow-bot
RUN mkdir /data && chown 65532:65532 /data
# With a fixed threshold glibc returns the memory of a long answer to the system.
ENV PATH=/opt/mouseflow-bot/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MALLOC_MMAP_THRESHOLD_=131072 \
    HOME=/tmp
# The defaults of the configuration are relative: config.toml, rules and data/bot.db are
# /config.toml, /rules and /data/bot.db here. They count from the configuration's folder: one
# that is mounted elsewhere (BOT_CONFIG) gives rules.paths and store.url as absolute paths.
WORKDIR /
USER 65532:65532
VOLUME /data
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["mouseflow-bot", "healthcheck"]
ENTRYPOINT ["mouseflow-bot"]
CMD ["run"]
