# Everything is done with Python and make only: no root, no container, no GPU. The second run opens no connection.
PYTHON ?= python3
VENV ?= .venv
REPOSITORY ?= model_repository
SPECS ?= $(sort $(wildcard ensembles/*.yaml))
RUN = $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help venv server weights setup build repo test test-full serve bench docs lint format clean distclean

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

venv: ## The project's virtual environment
	@$(PYTHON) scripts/setup_venv.py $(VENV)

server: venv ## A real tritonserver, in an environment of its own
	@$(RUN)/python -m generator.install

weights: venv ## Trained weights, labels and photos
	@$(RUN)/python scripts/fetch_weights.py weights

setup: venv server weights

build: setup
	$(RUN)/triton-repo build $(SPECS) -o $(REPOSITORY)

repo: build ## Build every ensembles/*.yaml and prove it on the real server
	$(RUN)/triton-repo verify $(SPECS) -r $(REPOSITORY)

test: setup ## The tests, without the heavy ones
	$(RUN)/python -m pytest -m "not full" $(ARGS)

test-full: setup ## All tests
	$(RUN)/python -m pytest $(ARGS)

serve: build ## Serve what `make repo` builds
	$(RUN)/triton-repo serve $(REPOSITORY) $(ARGS)

bench: build ## Measure the served ensembles
	$(RUN)/triton-repo bench $(ARGS)
	$(RUN)/python benchmarks/served_vs_loop.py

docs: venv ## docs/reference.md and docs/schema.json from the code
	@$(RUN)/python scripts/reference.py

lint: venv ## ruff and mypy
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy

format: venv ## Format the code
	$(RUN)/ruff format .
	$(RUN)/ruff check --fix .

clean: ## Remove what was built (weights and environments stay)
	find $(REPOSITORY) -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} +
	rm -rf build deploy bench .pytest_cache .mypy_cache .ruff_cache *.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean ## Remove the environment and the weights, too
	rm -rf $(VENV) $(VENV).lock weights
