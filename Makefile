# Each target sets up what it needs, on Linux with Python >= 3.11.
#   make demo ARGS="--seconds 8"
PYTHON ?= python3
BIN = .venv/bin
NOW := $(shell date +%Y%m%d-%H%M%S)
RUN = runs/$(@:train-%=%)-$(NOW)
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help demo demo-reach pictures test test-slow lint train-walk train-go1 train-biped train-reach \
	bench-learning bench-learning-long bench-walking bench-throughput bench-report clean

help: ## what can be made
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 28

demo: .venv/sim ## walk an emulated robot, from policy to replay: table, plot, video in demo/
	$(BIN)/surefoot demo $(ARGS)

demo-reach: .venv/sim ## an emulated arm brings its tip to seven goals: the same in demo-reach/
	$(BIN)/surefoot demo reach $(ARGS)

pictures: .venv/sim ## the README's pictures, of a demo run anew
	$(BIN)/surefoot demo --gif
	$(BIN)/surefoot demo reach --no-video
	cp demo/walk.png demo/walk.gif demo-reach/reach.png docs/

test: .venv/dev ## the fast tests
	$(BIN)/python -m pytest -m "not slow"

test-slow: .venv/dev ## the slow ones: real time, a training, the wheel
	$(BIN)/python -m pytest -m slow

lint: .venv/dev ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# The shipped policies once more, from nothing, in runs/. Larger batches, a longer horizon and a rate
# that falls further than the defaults take longer, and end better.
BEST = --num-envs 512 --horizon 24 --gamma 0.98 --learning-rate 1e-3 --final-learning-rate 5e-5 \
	--seed 0 --run $(RUN)

train-walk: .venv/dev ## the policy in models/quadruped/walk.onnx
	$(BIN)/surefoot train walk --steps 6e6 $(BEST)

train-go1: .venv/dev ## the policy in models/go1/walk.onnx
	$(BIN)/surefoot train walk --robot go1 --steps 12e6 --initial-std 0.8 $(BEST)

train-biped: .venv/dev ## the policy in models/biped/walk.onnx
	$(BIN)/surefoot train walk --robot biped --steps 8e6 --initial-std 0.8 $(BEST)

train-reach: .venv/dev ## the policy in models/arm/reach.onnx
	$(BIN)/surefoot train reach --steps 3e6 $(BEST)

bench-learning: .venv/peers ## PPO and SAC beside their peers, short: 20 minutes on two cores
	$(BIN)/python benchmarks/everything.py --short $(ARGS)

bench-learning-long: .venv/peers ## the same in hours, for benchmarks/RESULTS.md; resumes
	$(BIN)/python benchmarks/everything.py $(ARGS)

bench-walking: .venv/peers ## time to a policy that walks or reaches, beside its peers; resumes
	$(BIN)/python benchmarks/walking.py $(ARGS)

bench-throughput: .venv/peers ## steps a second beside bare physics and EnvPool, and where time goes
	$(BIN)/python benchmarks/throughput.py $(ARGS)

bench-report: .venv/peers ## benchmarks/RESULTS.md, from the records that there are
	$(BIN)/python benchmarks/report.py $(ARGS)

clean: ## the environment and what was built
	rm -rf .venv build dist demo demo-reach *.egg-info

# The environments, as stamps: `sim` for the demo, `dev` for torch and the tools, `peers` for the
# libraries that the benchmarks compare with.
.venv/sim: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "surefoot needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing Surefoot into .venv ..."
	@$(INSTALL) --editable .[sim]
	@touch $@

.venv/dev: .venv/sim
	@echo "Installing what training and tests need into .venv ..."
	@$(INSTALL) --editable .[dev]
	@touch $@

.venv/peers: .venv/sim
	@echo "Installing the libraries to compare with into .venv (some 500 MB) ..."
	@$(INSTALL) --editable .[peers]
	@touch $@
