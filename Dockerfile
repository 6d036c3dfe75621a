# The service alone: no embedded servers, no test tools, no compiler, no pip. Everything is checked against its hash.

FROM python:3.11.16-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements/bootstrap.txt requirements/service.txt requirements/
RUN pip install --require-hashes --only-binary :all: -r requirements/bootstrap.txt \
 && python -m venv --without-pip /opt/revoker \
 && uv pip install --python /opt/revoker/bin/python --require-hashes --no-build --no-cache --compile-bytecode \
        -r requirements/service.txt
COPY . .
RUN hatchling build -t wheel -d dist \
 && uv pip install --python /opt/revoker/bin/python --no-deps --offline --no-cache --compile-bytecode dist/*.whl

FROM python:3.11.16-slim-trixie
RUN groupadd --system --gid 10001 revoker \
 && useradd --system --uid 10001 --gid revoker --no-create-home --shell /usr/sbin/nologin revoker
COPY --from=build /opt/revoker /opt/revoker
ENV PATH=/opt/revoker/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    REVOKER_ADMIN_HOST=0.0.0.0 REVOKER_ADMIN_PORT=8081
USER 10001:10001
# A revoker.toml mounted here is read.
WORKDIR /etc/revoker
EXPOSE 8081
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as web; web.urlopen(f'http://127.0.0.1:{os.environ[\"REVOKER_ADMIN_PORT\"]}/livez', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["revoker"]
CMD ["--help"]
