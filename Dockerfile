# syntax=docker/dockerfile:1
# Pinned by full version tag: whoever builds for production pins the digest that their registry shows for this tag.

FROM python:3.11.14-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /build
COPY deploy/requirements-runtime.lock ./
RUN python3 -m venv /opt/gateway/venv \
 && /opt/gateway/venv/bin/python -m pip install --require-hashes --only-binary :all: -r requirements-runtime.lock
COPY gateway /opt/gateway/app/gateway
COPY models /opt/gateway/app/models
COPY fixtures /opt/gateway/app/fixtures
# The package is run from its folder, so no build tool is needed; its byte code is written now, because the image is read-only later.
RUN /opt/gateway/venv/bin/python -m pip uninstall --yes pip setuptools \
 && PYTHONDONTWRITEBYTECODE='' python3 -m compileall -q --invalidation-mode unchecked-hash /opt/gateway/app/gateway /opt/gateway/venv/lib

FROM python:3.11.14-slim-bookworm
LABEL org.opencontainers.image.title="clinical-inference-gateway" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/opt/gateway/venv/bin:$PATH \
    PYTHONPATH=/opt/gateway/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1 \
    GATEWAY__AUDIT__DATABASE=/var/lib/gateway/audit.db \
    GATEWAY__AUDIT__KEY_FILE=/run/gateway-keys/kek.json
COPY --from=build /opt/gateway /opt/gateway
# The two places that are written: the log, and (development only) the key file. Mount both; the key file on a device of its own.
RUN install -d -o 10001 -g 10001 -m 0700 /var/lib/gateway /run/gateway-keys
USER 10001:10001
WORKDIR /var/lib/gateway
VOLUME ["/var/lib/gateway", "/run/gateway-keys"]
EXPOSE 8000
STOPSIGNAL SIGTERM
# Without configured identities the gateway listens on loopback only: share the network of the container that asks, or configure identities.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ.get('GATEWAY__SERVER__PORT', '8000') + '/health/live', timeout=2)"]
ENTRYPOINT ["python3", "-m", "gateway"]
CMD ["serve"]
