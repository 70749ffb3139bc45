# make app | demo | check | test | test-all | soak | lowest | bench | registry | options | answers | screenshots | samples | format | clean
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name) 2>/dev/null)))
BIN := .venv/bin

.PHONY: app demo check test test-all soak lowest bench registry options answers screenshots samples format clean

app: .venv/app
	$(BIN)/python -m tl_core prepare
	$(BIN)/python -m tl_core app

demo: .venv/app
	$(BIN)/python -m tl_core demo

check: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/oxlint ui
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# -rs prints why a test was skipped; two processes, each with whole files, so that tests of one file share what they trained. By default
# the files with the fewest tests come last, among them the longest, and one process waits for the other; so they keep their order.
test: .venv/dev
	$(BIN)/pytest -rs -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not gpu"

test-all: .venv/dev
	$(BIN)/pytest -rs -n 2 --dist loadfile --no-loadscope-reorder

# hostile files, killed processes, full disks, too little memory and many sessions at once: about an hour and a half; make soak ARGUMENTS="kills --seed 7" does a part
soak: .venv/dev
	$(BIN)/python -m tests.soak $(ARGUMENTS)

# before a release: the tests with the lowest version of each requirement, beside the newest PyTorch, since its floors are gigabytes
lowest: .venv-lowest/ready
	.venv-lowest/bin/pytest -rs -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not gpu and not browser"

# make bench FOLDER=pictures TITLE="their name and source" takes half an hour for three seeds on two cores; run nothing else meanwhile
bench: .venv-bench/ready
	.venv-bench/bin/python -m benchmarks.speed "$(FOLDER)" --title "$(TITLE)"

# writes the options of a run into docs/command-line.md and into the arguments of tl_core.train, the settings into docs/deploy.md
options: .venv/app
	$(BIN)/python -m benchmarks.write_options

# writes tl_core/models/backbones.json from the metadata of torchvision and timm; takes several minutes
registry: .venv/app
	$(BIN)/python -m tl_core.models.metadata.rows

# trains on the embedded sample and writes the answers that an empty Home shows
answers: .venv/app
	$(BIN)/python benchmarks/home_answers.py

# takes the pictures of the app in docs/images; needs Chromium
screenshots: .venv/dev
	$(BIN)/python -m tests.browser.screenshots

# renders the pictures of the sample of tableware that are missing; about ten minutes for all 300 where LLVM is installed
samples: .venv-samples/ready
	.venv-samples/bin/python -m samples

format: .venv/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.venv/app: requirements.txt
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@echo "Installing into .venv, once. PyTorch is by far the largest part: for most machines a download of gigabytes."
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/dev: requirements-dev.txt .venv/app
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

.venv-bench/ready: requirements-bench.txt requirements.txt
	$(PYTHON) -m venv --clear .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	touch $@

.venv-lowest/ready: requirements-dev.txt requirements.txt
	$(PYTHON) -m venv --clear .venv-lowest
	sed -n -e '/^torch/d' -e 's/>=/==/p' requirements.txt >.venv-lowest/lowest.txt
	grep -v '^-r' requirements-dev.txt >.venv-lowest/tools.txt
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check \
		-r requirements.txt -r .venv-lowest/tools.txt -c .venv-lowest/lowest.txt
	touch $@

.venv-samples/ready: requirements-samples.txt
	$(PYTHON) -m venv --clear .venv-samples
	.venv-samples/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-samples.txt
	touch $@

clean:
	rm -rf .venv .venv-bench .venv-lowest .venv-samples .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
