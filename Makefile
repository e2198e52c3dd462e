# make demo: tune the real MiniLM offline in under three minutes of two cores. make test: everything CI runs.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test lint types fast clean cards bench reference torture

# pip builds this package in an environment of its own, which -c does not reach.
$(VENV)/ready: export PIP_CONSTRAINT = constraints.txt
$(VENV)/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "hf_simtune needs Python 3.11 or newer; this is $$($(PYTHON) --version). As in: make PYTHON=python3.12 demo"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[offline,dev]'
	@touch $@

demo: $(VENV)/ready
	$(BIN)/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no recipes/mnrl_minilm.py --offline $(DEMO_ARGS)

test: $(VENV)/ready lint types
	$(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

# Without the tests marked slow: those with the real model, a Hub on the loopback or an environment of their own.
fast: $(VENV)/ready
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile $(PYTEST_ARGS)

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/ready
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

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

# The runs in model_cards/ that have no record yet, hours of them; stopped, it goes on where it was. ONLY=ablation for some.
ONLY ?=
reference: $(VENV)/ready
	$(BIN)/python -m hf_simtune.reference_runs $(if $(HUB),--hub $(HUB)) $(if $(ONLY),--only $(ONLY))
	$(MAKE) cards

# Everything that tests/ does in part for want of time: a Hub that fails at each request of a push in turn, how often the
# interval holds a known truth, a hundred runs in one process. Half an hour and more.
torture: $(VENV)/ready
	$(BIN)/python tests/publish_torture.py
	$(BIN)/python tests/coverage_torture.py
	$(BIN)/python tests/endurance_torture.py
