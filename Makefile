# One line for each thing to do; every target can be called again at no cost. See `make help`.

PYTHON_VENV := .venv/bin/python
.DEFAULT_GOAL := help
comma := ,
.PHONY: help setup build demo demo-chain test lint bench sanitize tsan coverage wheel test-torchfree test-neon fuzz property contracts ipfs-node test-ipfs hardhat-node test-hardhat kills notebooks clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1@\2/' | column -t -s@ 2>/dev/null \
		|| grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST)

# The last line of what was asked for; within something else there is none.
say_next = $(if $(filter $@,$(lastword $(MAKECMDGOALS))),@echo 'Next: $(1)',@:)

setup: ## install what is missing: system libraries, .venv, pinned requirements
	@bash scripts/setup.sh
	$(call say_next,make demo$(comma) make test)

build: setup ## build the extension modules in place
	@$(PYTHON_VENV) setup.py -q build_ext --inplace
	$(call say_next,make demo$(comma) make test)

demo: build ## train, record, export, verify, tamper: the whole story in about a minute
	@bash scripts/test_tools.sh b3sum
	@$(PYTHON_VENV) examples/digits.py

demo-chain: build ## an Ethereum node, a contract, a training, its anchor; stop the node, verify, tamper
	@CI=true bash scripts/test_nodes.sh
	@$(PYTHON_VENV) examples/anchor_digits.py

test: build ## build and run the C tests, then the Python tests and doctests
	@bash scripts/test_tools.sh
	@bash scripts/test_nodes.sh
	@$(MAKE) --no-print-directory -f scripts/native.mk -j2 VARIANT=check run
	@.venv/bin/pytest

lint: setup ## layers, ruff, mypy, pyright, clang-format, clang-tidy, -Werror with gcc and clang
	@bash scripts/lint.sh

contracts: ## compile mlprov/contracts/*.sol; without a change the committed JSON comes out again
	@CI=true bash scripts/test_nodes.sh
	@node tests/nodes/compile_contracts.js

sanitize: setup ## the C and the Python tests under ASan and UBSan
	@bash scripts/test_nodes.sh
	@bash scripts/sanitize.sh

tsan: setup ## the C tests of threads under ThreadSanitizer
	@$(MAKE) --no-print-directory -f scripts/native.mk -j2 VARIANT=tsan run

coverage: setup ## statement and branch coverage of C and Python
	@bash scripts/coverage.sh

wheel: setup ## build sdist and wheels into dist/ and try each in a clean environment
	@bash scripts/wheel.sh

test-torchfree: setup ## install into an environment without torch and run the tests there
	@bash scripts/test_nodes.sh
	@bash scripts/torchfree.sh

test-neon: ## C cross-compiled for AArch64; its tests of BLAKE3 run by QEMU
	@bash scripts/test_neon.sh

fuzz: setup ## each libFuzzer target for FUZZ_SECONDS (60) under ASan and UBSan
	@bash scripts/fuzz.sh

property: build ## 100,000 random sets of inputs in C and against PyPI's blake3; 10,000 transactions against anvil
	@$(MAKE) --no-print-directory -f scripts/native.mk VARIANT=check build/c/check/test_hash_many
	@MLPROV_PROPERTY_CASES=100000 build/c/check/test_hash_many
	@MLPROV_PROPERTY_CASES=100000 .venv/bin/pytest tests/python/test_many_inputs.py
	@bash scripts/test_nodes.sh
	@MLPROV_PROPERTY_CASES=10000 .venv/bin/pytest -o faulthandler_timeout=3000 tests/python/test_ethereum.py tests/python/test_bad_anchors.py

bench: build ## print the benchmark tables, and the goals of all as one and as build/bench.json
	@rm -rf build/bench
	@bash scripts/test_tools.sh b3sum
	@for script in benchmarks/[a-z]*.py; do $(PYTHON_VENV) "$$script" || exit 1; done
	@$(PYTHON_VENV) benchmarks/_goals.py

test-ipfs: build ipfs-node ## anchors and files on a real IPFS node, a kill at every durable write among them
	@.venv/bin/pytest tests/python/test_ipfs_node.py tests/python/test_ipfs_files.py

ipfs-node: ## install the IPFS node that tests/python/test_ipfs_node.py starts (npm; 3 minutes, 290 MB)
	@cd tests/nodes/ipfs && { npm ci --no-audit --no-fund || npm install --no-save --no-package-lock --omit=optional --ignore-scripts --no-audit --no-fund; }

test-hardhat: build hardhat-node ## anchors on a second Ethereum node, which is strict about fees
	@MLPROV_TEST_HARDHAT=1 .venv/bin/pytest tests/python/test_hardhat.py

hardhat-node: ## install the node that tests/python/test_hardhat.py starts (npm; half a minute, 290 MB)
	@cd tests/nodes/hardhat && { [ -f node_modules/.package-lock.json ] || npm ci; }

kills: build ## a thousand processes that record and anchor, killed at random moments (half an hour)
	@bash scripts/test_nodes.sh
	@MLPROV_TEST_KILLS=1000 .venv/bin/pytest -s -o faulthandler_timeout=7200 tests/python/test_kills.py

notebooks: build ## execute notebooks/ in place, then the tests of what notebooks show
	@bash scripts/notebooks.sh

clean: ## remove what was built (.venv stays)
	rm -rf build dist out *.egg-info mlprov/*.so .coverage* htmlcov
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
