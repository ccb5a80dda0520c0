# make demo: see the bot work.  make test: the test suite.  make check: all that CI asks for.
# make worlds N=5000: the bot in 5,000 random worlds of each kind against a judge that has read
# only the docs. FROM=5000 goes on with the next ones.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
RUN := .venv/.installed-run
DEV := .venv/.installed-dev

# Bytecode is kept, whatever the environment says: else each worker, and each process that a test
# starts, compiles everything anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test worlds fuzz bench bench-short soak soak-real check format generate pictures docs lint types contracts lock clean

demo: $(RUN)
	@$(BIN)/mouseflow-bot demo
	@echo "To find these commands in this terminal: . $(BIN)/activate"

test: $(DEV)
	@$(BIN)/python -m compileall -q -j 0 bot mouseflow
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

N ?= 1000
FROM ?= 0
worlds: $(DEV)
	WORLDS=$(N) FROM=$(FROM) $(BIN)/python -m pytest -q -n auto tests/worlds $(ARGS)

# Damaged rule files, configurations and answers, SECONDS each; TARGET=api for one of them. It goes
# on from the inputs in build/fuzz; what it finds fails.
SECONDS ?= 60
fuzz: $(DEV)
	$(BIN)/python tests/fuzz/fuzzer.py $(SECONDS) $(TARGET)

# All benchmarks, into the docs: hours, and root for `outages`. NAMES="calls check": some of them.
bench: $(DEV)
	$(BIN)/python -m bench.report $(NAMES)

# A few ratios against bench/recorded.json, in a minute: a worse one is a warning, no error.
bench-short: $(DEV)
	$(BIN)/python -m bench.report --short $(ARGS)

# Months on a virtual clock, ten real minutes: nothing grows, nothing is lost, nothing twice.
soak: $(DEV)
	$(BIN)/python -m bench.soak $(ARGS)

soak-real: $(DEV)
	$(BIN)/python -m bench.soak --real --per-day 2000 $(ARGS)

check: lint types contracts test

lint: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(DEV)
	$(BIN)/mypy

contracts: $(DEV)
	$(BIN)/lint-imports

format: $(DEV)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# What tests compare with the code: docs tables, expected error texts, JSON Schema. Read the diff.
generate: $(DEV)
	$(BIN)/python tests/rules/files/rules_docs.py
	$(BIN)/python tests/rules/files/broken_files.py
	$(BIN)/python tests/rules/files/test_broken_texts.py
	$(BIN)/python tests/mouseflow/reference_page.py
	$(BIN)/mouseflow-bot schema > rules/rules.schema.json
	$(BIN)/python tests/messages/real_payloads.py
	$(BIN)/python tests/docs/pictures.py

# The status page for the docs, each page at two widths, light and dark.
pictures: $(DEV)
	$(BIN)/python tests/docs/web_pictures.py $(ARGS)

# The site, in build/site. A broken link, or a page that is in no menu, is an error.
docs: .venv/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

.venv/.installed-docs: $(RUN) requirements-docs.txt
	$(PIP) install --require-hashes --requirement requirements-docs.txt
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mouseflow-bot needs Python 3.11 or newer; try: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv

$(RUN): $(BIN)/python requirements.txt requirements-build.txt pyproject.toml
	$(PIP) install --require-hashes --requirement requirements.txt --requirement requirements-build.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): $(RUN) requirements-dev.txt
	$(PIP) install --require-hashes --requirement requirements-dev.txt
	@touch $@

# Lock files have hashes and no index URL: they work with any package index. They come from
# pip's own configuration, so a stale lock file cannot block this target.
COMPILE := $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras \
	--no-emit-index-url --no-emit-find-links --no-header --no-annotate
lock: $(BIN)/python
	$(PIP) install 'pip-tools>=7.5' 'hatchling>=1.27,<2'
	$(COMPILE) --no-build-isolation --output-file requirements.txt pyproject.toml
	$(COMPILE) --output-file requirements-build.txt requirements-build.in
	$(COMPILE) --no-build-isolation --extra postgres --extra notify --constraint requirements.txt \
		--output-file requirements-postgres.txt pyproject.toml
	$(COMPILE) --output-file requirements-dev.txt requirements-dev.in
	$(COMPILE) --no-build-isolation --extra notify --constraint requirements.txt \
		--output-file requirements-notify.txt pyproject.toml
	$(COMPILE) --no-build-isolation --extra docs --constraint requirements.txt \
		--output-file requirements-docs.txt pyproject.toml

clean:
	rm -rf .venv
