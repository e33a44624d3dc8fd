# One image for everything: webserver, daemon, code server, runs, and the command `archiver`. It says neither ENTRYPOINT nor DAGSTER_HOME: the
# Dagster chart and the run launcher give whole command lines as the arguments of a container, and set the other where there is an instance;
# without it `archiver` runs on its own. No HEALTHCHECK either: no two of these processes are well in the same way, and Kubernetes, which has
# the chart's probes, reads none.
#
#   docker build --tag audit-archiver:0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" .

FROM python:3.13-slim-trixie AS build

ENV UV_PYTHON_DOWNLOADS=never \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1

WORKDIR /build
# Everything that is installed is in uv.lock with its hash, the build backend too, and uv itself in uv.txt. First what changes seldom: a layer of its own.
COPY pyproject.toml uv.lock uv.txt ./
RUN pip install --no-cache-dir --root-user-action=ignore --only-binary :all: --require-hashes --requirement uv.txt \
 && UV_PROJECT_ENVIRONMENT=/build/backend uv sync --locked --only-group build \
 && UV_PROJECT_ENVIRONMENT=/opt/archiver uv sync --locked --no-dev --no-install-project

# The last line lets Dagster's processes log JSON from their start on: docs/reference/logging.md.
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

# The folder that the chart takes as DAGSTER_HOME is the user's home: on Kubernetes an emptyDir lies over it, and over /tmp.
# Python's own library comes without bytecode, and on a read-only root each process would compile what Dagster needs of it anew, for 1 s.
# Then what nobody needs who only runs it, and an intruder would like: installers, Perl, and all that may act as another user. bash and the core
# utilities stay: the chart starts the webserver by bash. The list of packages stays too, for those who scan the image.
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

# By number, as Kubernetes can only tell from one that it is not root.
USER 10001:10001
# Not where a dagster.yaml could lie: Dagster takes one of the current folder.
WORKDIR /opt/dagster

CMD ["archiver", "--help"]
