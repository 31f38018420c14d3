# The version that the tests run with. 3.12 and newer have patch releases in which
# redis-py meets a closed connection with a TypeError (redis/redis-py#4287).
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
COPY requirements.lock /build/
# Wheels only: nothing is compiled, so neither stage has a compiler.
RUN python -m venv --without-pip /opt/paintonce \
 && pip --python /opt/paintonce/bin/python install \
      --require-hashes --no-deps --only-binary :all: -r /build/requirements.lock
COPY app /srv/paintonce/app
# The running container can't write next to the code, so it is compiled here.
RUN /opt/paintonce/bin/python -m compileall -q /srv/paintonce/app

FROM ${PYTHON}
RUN groupadd --gid 10001 paintonce \
 && useradd --uid 10001 --gid paintonce --no-log-init --no-create-home --home-dir /srv/paintonce \
      --shell /usr/sbin/nologin paintonce
COPY --from=builder /opt/paintonce /opt/paintonce
COPY --from=builder /srv/paintonce /srv/paintonce
ENV PATH=/opt/paintonce/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PORT=8080
WORKDIR /srv/paintonce
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
# Alive, not ready: a replica without Redis is kept, it still serves hits.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import http.client, os, sys; door = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('PORT') or 8080), timeout=2); door.request('GET', '/healthz'); sys.exit(door.getresponse().status != 200)"]
ENTRYPOINT ["python", "-m", "app"]
CMD ["serve"]
