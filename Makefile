# make app | demo | check | test | test-all
PYTHON ?= python3
BIN := .venv/bin

.PHONY: app demo check test test-all format clean

app: .venv/app
	$(BIN)/python -m tl_core prepare
	$(BIN)/python -m tl_core app

demo: .venv/app
	$(BIN)/python -m tl_core demo

check: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

test: .venv/dev
	$(BIN)/pytest -m "not slow and not gpu"

test-all: .venv/dev
	$(BIN)/pytest

format: .venv/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.venv/app: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.txt
	touch $@

.venv/dev: requirements-dev.txt .venv/app
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
