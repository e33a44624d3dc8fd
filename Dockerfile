# One image for everything: webserver, daemon, code server, runs, and the command `archiver`. It sets no ENTRYPOINT, because the Dagster chart
# and the run launcher pass complete command lines as container arguments. It sets no DAGSTER_HOME either: they set it if there is an instance,
# and without it `archiver` runs standalone. It has no HEALTHCHECK: each of these processes would need a different one, and Kubernetes uses the
# chart's probes instead.
#
#   docker build --tag audit-archiver:0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" .

FROM python:3.13-slim-trixie AS build

ENV UV_PYTHON_DOWNLOADS=never \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1

WORKDIR /build
# uv.lock pins everything that is installed by hash, including the build backend; uv.txt pins uv itself. Dependencies change rarely, so they have
# their own layer.
COPY pyproject.toml uv.lock uv.txt ./
RUN pip install --no-cache-dir --root-user-action=ignore --only-binary :all: --require-hashes --requirement uv.txt \
 && UV_PROJECT_ENVIRONMENT=/build/backend uv sync --locked --only-group build \
 && UV_PROJECT_ENVIRONMENT=/opt/archiver uv sync --locked --no-dev --no-install-project

# The last line makes Dagster's processes log JSON from the start: docs/reference/logging.md.
COPY README.md ./
COPY archiver_assets ./archiver_assets
RUN uv build --wheel --no-build-isolation --python /build/backend/bin/python --out-dir /build/dist \
 && uv pip install --python /opt/archiver/bin/python --no-deps /build/dist/*.whl \
 && echo 'import archiver_assets.telemetry.early_log' > /opt/archiver/lib/python3.13/site-packages/archiver.pth


FROM python:3.13-slim-trixie

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Audit Archiver" \
      org.opencontainers.image.description="Moves expired rows of PostgreSQL audit tables to S3-compatible storage, proves that they are there, and only then deletes them." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="python:3.13-slim-trixie"

# The user's home is the folder that the chart uses as DAGSTER_HOME; on Kubernetes, emptyDirs are mounted there and on /tmp.
# Python's standard library comes without bytecode. On a read-only root, each process would spend 1 s compiling it again.
# The rest removes what a running container does not need and an intruder could use: installers, Perl and setuid programs. bash and the core
# utilities stay, because the chart starts the webserver through bash. The package list stays for image scanners.
RUN groupadd --gid 10001 archiver \
 && useradd --uid 10001 --gid archiver --home-dir /opt/dagster/dagster_home --create-home --shell /usr/sbin/nologin archiver \
 && pip uninstall --yes --root-user-action=ignore pip \
 && rm -r /usr/local/lib/python3.13/ensurepip \
 && python -m compileall -q /usr/local/lib/python3.13 \
 && find / -xdev -perm /6000 -type f -exec chmod a-s {} + \
 && dpkg --purge --force-depends --force-remove-essential --force-remove-protected \
      apt bsdutils debian-archive-keyring diffutils findutils grep gzip hostname init-system-helpers login mawk mount ncurses-bin passwd \
      perl-base sed sqv sysvinit-utils tar util-linux \
 && rm /usr/bin/dpkg*

COPY --from=build /opt/archiver /opt/archiver

ENV PATH=/opt/archiver/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DAGSTER_DISABLE_TELEMETRY=1

# Numeric, because Kubernetes can verify only a numeric user to be non-root.
USER 10001:10001
# A folder without a dagster.yaml: Dagster would use one from the current folder.
WORKDIR /opt/dagster

CMD ["archiver", "--help"]
