# make demo: tune the real MiniLM offline in under three minutes of two cores. make test: everything CI runs.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test lint types fast clean cards bench reference torture coverage mutants versions lowest newest audit

# What tuning needs and no more, for make demo; then what tests need. pip builds this package in an environment of its
# own, which -c does not reach.
$(VENV)/tunes $(VENV)/ready: export PIP_CONSTRAINT = constraints.txt
$(VENV)/tunes: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "hf_simtune needs Python 3.11 or newer; this is $$($(PYTHON) --version). As in: make PYTHON=python3.12 demo"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[offline]'
	@touch $@

$(VENV)/ready: $(VENV)/tunes
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[offline,dev]'
	@touch $@

demo: $(VENV)/tunes
	$(BIN)/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no recipes/mnrl_minilm.py --offline $(DEMO_ARGS)

test: $(VENV)/ready lint types
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

# Without the tests marked slow: those with the real model, a Hub on the loopback or an environment of their own.
fast: $(VENV)/ready
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/ready
	$(BIN)/mypy

# Every test, and which lines of the package none of them runs, in processes that it starts too; below 95 % it fails.
coverage: $(VENV)/ready
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --cov --cov-report=term-missing:skip-covered --cov-fail-under=95 $(PYTEST_ARGS)

# Small changes to evaluation/ and data/ that the tests should notice, a hundred drawn from all; the figures go to
# model_cards/torture/. MUTANTS= takes each of them, in many hours.
MUTANTS ?= --draw 100
mutants: $(VENV)/ready
	$(BIN)/python tests/mutants_torture.py --keep $(MUTANTS)
	$(BIN)/mutmut results

# The fast tests on the lowest and on the newest versions that pyproject.toml allows, each in an environment of its own.
# TORCH= takes another build: where a CPU build lies at hand, TORCH=torch==2.13.0+cpu spares gigabytes of CUDA. The links
# are those of pip, which uv does not read.
TORCH ?= torch==2.13.0
LOWEST_TORCH ?= torch==2.7.0
versions: lowest newest
lowest newest: export UV_FIND_LINKS ?= $(shell $(BIN)/python -m pip config get global.find-links 2>/dev/null)
lowest newest: $(VENV)/ready
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VENV)-$@
	$(BIN)/uv pip install --quiet --python $(VENV)-$@/bin/python --resolution $(if $(filter lowest,$@),lowest-direct '$(LOWEST_TORCH)',highest '$(TORCH)') \
		'pytest>=8.3' 'pytest-timeout>=2.3' 'pytest-xdist>=3.8' 'hypothesis>=6.130' 'markdown-it-py>=3' 'tensorboard>=2.19' 'ipykernel>=6.29' 'nbclient>=0.10' 'nbformat>=5.10' -e '.[offline,search,onnx]'
	$(VENV)-$@/bin/python -m pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

# Known holes in what constraints.txt pins. First in a version that has some: an audit that finds none there has not
# reached its database, and fails.
audit: $(VENV)/ready
	@echo 'jinja2==2.10' > $(VENV)/known-holes.txt
	@$(BIN)/uv tool run pip-audit@2.10.1 --strict --disable-pip --no-deps -r $(VENV)/known-holes.txt 2>&1 | grep -qiE 'PYSEC|CVE|GHSA' || \
		{ echo "The advisory database was not reached: nothing was found in jinja2 2.10, which has holes. Nothing was audited."; exit 1; }
	$(BIN)/uv tool run pip-audit@2.10.1 --strict --disable-pip --no-deps -r constraints.txt

clean:
	rm -rf $(VENV) $(VENV)-lowest $(VENV)-newest mutants build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The figures of model_cards/bench/ and the pages made of them: about three quarters of an hour of an idle machine.
# HUB=copy/ takes the data from a folder laid out as on the Hub.
HUB ?=
STSB = $(HUB)sentence-transformers/stsb
COMPRESSION = $(HUB)embedding-data/sentence-compression
BENCH = $(BIN)/hf-simtune bench
FIGURES = model_cards/bench
TURNS = --sides plain-bf16 ours-auto --steps 2 --rounds 3

bench: $(VENV)/ready
	$(BENCH) step --data $(STSB):train --out $(FIGURES)/step-stsb.json --force
	$(BENCH) step --data $(COMPRESSION) --out $(FIGURES)/step-compression.json --force
	$(BENCH) step --data $(COMPRESSION) --sides ours-auto --steps 50 --rounds 6 --out $(FIGURES)/long.json --force
	$(BENCH) data --rows 10000 100000 1000000 --out $(FIGURES)/data.json --force
	$(BENCH) answer --data $(STSB):train --rows 2880 --select-on $(STSB):validation --report-on $(STSB):test \
		--out $(FIGURES)/answer.json --force
	for rows in 8 16 64 256; do $(BENCH) step --data $(COMPRESSION) --batch-size $$rows $(TURNS) \
		--out $(FIGURES)/growth-rows-$$rows.json --force || exit 1; done
	for length in 8 16 32; do $(BENCH) step --data $(COMPRESSION) --max-length $$length $(TURNS) \
		--out $(FIGURES)/growth-length-$$length.json --force || exit 1; done
	$(MAKE) cards

# The cards of the reference runs and the README's table, from the records in model_cards/.
cards: $(VENV)/ready
	$(BIN)/python -m hf_simtune.reference .
	$(BIN)/python tests/torture_record.py

# The runs in model_cards/ that have no record yet, hours of them; stopped, it goes on where it was. ONLY=ablation for some.
ONLY ?=
reference: $(VENV)/ready
	$(BIN)/python -m hf_simtune.reference_runs $(if $(HUB),--hub $(HUB)) $(if $(ONLY),--only $(ONLY))
	$(MAKE) cards

# Everything that tests/ does in part for want of time: a Hub that fails at each request of a push in turn, runs that are
# killed, stopped or left without room at many moments, ten thousand files, recipes and texts that nobody should have given,
# how often the interval holds a known truth, a hundred runs in one process. Hours in all; the figures go to model_cards/torture/.
torture: $(VENV)/ready
	$(BIN)/python tests/publish_torture.py --keep
	$(BIN)/python tests/crash_torture.py --keep
	$(BIN)/python tests/input_torture.py --keep
	$(BIN)/python tests/coverage_torture.py --keep
	$(BIN)/python tests/coverage_torture.py --groups 10 20 50 --keep
	$(BIN)/python tests/endurance_torture.py --keep
