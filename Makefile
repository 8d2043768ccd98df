# Everything that a fresh Debian machine needs, from a clone to a report.  `make help` lists it.
#
# Only make and a POSIX shell are assumed: Python itself comes with the first target.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# What the programs in harness/tools.py come from, Python, a C compiler for the journal's tests, the
# library of Python that Coccinelle loads, GRUB's files for disks that tests boot, and the
# certificates without which pip reaches nothing.
PACKAGES := ca-certificates coccinelle e2fsprogs fdisk fuse3 gcc git grub-common grub-pc-bin libc6-dev \
            libnbd-bin libpython3-dev patch python3 python3-venv qemu-system-common qemu-system-x86 \
            qemu-utils util-linux

# Seconds that each ring of tests may take on 2 cores, about twice what it takes on idle ones.
# A ring that takes longer has failed.
BUDGET_PURE := 40
BUDGET_TOOLS := 300
BUDGET_GUEST := 800

# A Hurd guest that is in the cache already, and has a recipe here, is the better demo.  Looked up
# without hurdle, so that the first line can say what will run before anything is set up.
CACHE := $$( [ -n "$$HURDLE_CACHE" ] && echo "$$HURDLE_CACHE" \
             || echo "$${XDG_CACHE_HOME:-$$HOME/.cache}/hurdle" )
HURD = $$( for each in "$(CACHE)"/images/hurd-*/*/manifest.json; do \
               name=$$(basename "$$(dirname "$$(dirname "$$each")")"); \
               [ -e "$$each" ] && [ -e "vm-images/$$name.yaml" ] && echo "$$name"; \
           done | sort | head -n 1 )

export DEBIAN_FRONTEND := noninteractive
export PIP_ROOT_USER_ACTION := ignore
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo demo-guest test lint pure tools guest setup packages image clean soak scenarios timings \
        engine-test engine-sanitize engine-fuzz engine-bench engine-record engine-coverage engine-nightly \
        engine-linux mutants

help:
	@echo "make demo    the mail thread's experiment, from boot to report: out/demo/report.html"
	@echo "make test    lint and all tests, each ring within its budget"
	@echo "make lint    ruff and mypy only;  make pure|tools|guest: one ring only"
	@echo "make soak    the directory experiment RUNS=20 times;  make scenarios: all, on GUEST"
	@echo "make timings RUNS=5 GUEST=hurd-i386-source   a kill cycle's phases, cold and warm"
	@echo "make engine-test|engine-nightly|engine-linux|mutants|engine-bench   the journal"
	@echo "make setup   Debian packages (as root), $(VENV), and the control guest's image"
	@echo "make clean   remove $(VENV), out/ and tool caches; the image cache stays"

demo: demo-guest setup
	@guest="$(HURD)"; \
	$(BIN)/hurdle run directory --guest "$${guest:-linux-control}" --out out/demo --force

demo-guest:
	@guest="$(HURD)"; \
	if [ -n "$$guest" ]; then \
		echo "demo: the thread's directory experiment on the Hurd guest $$guest"; \
	else \
		echo "demo: no Hurd image in the cache, so this runs on the Linux control" \
		     "(hurdle image build hurd-i386-source makes a Hurd in half an hour)"; \
	fi

test: setup lint pure tools guest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# $(call ring,NAME,SECONDS,PYTEST OPTIONS)
define ring
	@mkdir -p out/test; began=$$(date +%s); \
	timeout --signal=INT --kill-after=20 $(2) $(BIN)/pytest --quiet --junitxml=out/test/$(1).xml $(3) tests/$(1); \
	code=$$?; took=$$(( $$(date +%s) - began )); \
	echo "ring $(1): $$took s of $(2) s"; \
	[ $$code -ne 124 ] || echo "ring $(1): stopped, because it took longer than its budget" >&2; \
	exit $$code
endef

pure: $(STAMP)
	$(call ring,pure,$(BUDGET_PURE),-n 2)

tools: $(STAMP)
	$(call ring,tools,$(BUDGET_TOOLS),-n 2)

guest: $(STAMP) image
	$(call ring,guest,$(BUDGET_GUEST),-n 2)

setup: packages $(STAMP) image

# Installs what is missing when root, else prints the one command and stops.
packages:
	@[ -n "$(strip $(PACKAGES))" ] || exit 0; \
	command -v dpkg-query >/dev/null || { \
		echo "This is no Debian.  Needed are the programs of these packages: $(PACKAGES)" >&2; \
		echo "With them in PATH: make $(MAKECMDGOALS) PACKAGES=" >&2; \
		exit 1; }; \
	missing=""; \
	for each in $(PACKAGES); do \
		case "$$(dpkg-query -W -f '$${Status}' "$$each" 2>/dev/null)" in \
			*" installed") ;; \
			*) missing="$$missing $$each" ;; \
		esac; \
	done; \
	[ -n "$$missing" ] || exit 0; \
	install="apt-get install --yes --no-install-recommends$$missing"; \
	if [ "$$(id -u)" -eq 0 ]; then \
		echo "installing:$$missing"; \
		apt-get update -qq && $$install -qq >/dev/null; \
	elif command -v sudo >/dev/null; then \
		echo "Debian packages are missing.  Run this, then make again:" >&2; \
		echo "  sudo sh -c 'apt-get update && $$install'" >&2; exit 1; \
	else \
		echo "Debian packages are missing.  Run this, then make again:" >&2; \
		echo "  su -c 'apt-get update && $$install'" >&2; exit 1; \
	fi

# The stamp is older than pyproject.toml when the dependencies have changed.
$(STAMP): pyproject.toml | packages
	@echo "setting up $(VENV)"
	@[ -x $(BIN)/pip ] || python3 -m venv --clear $(VENV)
	@$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

# Makes the image unless the cache has it.
image: $(STAMP)
	@$(BIN)/hurdle image build linux-control

# One green run proves little: the directory experiment again and again, each run green or the end.
RUNS := 20
soak: setup
	@mkdir -p out; for run in $$(seq $(RUNS)); do \
		CI=1 $(BIN)/hurdle run directory --guest linux-control --out out/soak --force > out/soak.txt \
			|| { code=$$?; cat out/soak.txt; \
			     echo "soak: run $$run of $(RUNS) ended with $$code"; exit 1; }; \
		grep -q '"dangling-entry"' out/soak/results.jsonl \
			|| { echo "soak: run $$run: ext2 had no dangling entry"; exit 1; }; \
		echo "soak: run $$run of $(RUNS): every verdict as expected, ext2 had a dangling entry"; \
	done

# What a kill cycle of GUEST takes, to be read on an idle machine: after a boot, and RUNS times from a
# saved state.
timings: setup
	@mkdir -p out; for run in cold $$(seq $(RUNS)); do \
		how=; [ $$run = cold ] && how=--cold; \
		CI=1 $(BIN)/hurdle run directory --guest $(GUEST) $$how --timings --out out/timings --force \
			> out/timings.txt || { code=$$?; cat out/timings.txt; exit $$code; }; \
		echo "timings: run $$run of $(RUNS), load $$(cut -d ' ' -f 1 /proc/loadavg)"; \
		grep -E '^(phase|boot|save|start|clock|all) ' out/timings.txt; \
	done

# Every scenario that comes with hurdle, on GUEST.
GUEST := linux-control
scenarios: setup
	@failed=; mkdir -p out; \
	for each in $$($(BIN)/hurdle scenarios --names --guest $(GUEST)); do \
		CI=1 $(BIN)/hurdle run $$each --guest $(GUEST) --out out/$$each-$(GUEST) --force \
			> out/$$each-$(GUEST).txt && echo "$$each: as expected" \
			|| { tail -n 5 out/$$each-$(GUEST).txt; failed="$$failed $$each"; }; \
	done; \
	[ -z "$$failed" ] || { echo "not as expected:$$failed"; exit 1; }

# The journal engine alone, in C on the host: guest-patches/Makefile says what each does.
engine-test engine-sanitize engine-fuzz engine-bench engine-record engine-coverage engine-nightly mutants:
	$(MAKE) --directory guest-patches $@

# Linux replays the engine's logs, and the engine Linux's: BOOTS times 110 states.
BOOTS := 10
engine-linux: setup
	ENGINE_LINUX_BOOTS=$(BOOTS) ENGINE_LINUX_STATES=110 \
		$(BIN)/pytest -q -rP tests/guest/test_engine_linux.py

clean:
	rm -rf $(VENV) out *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find harness tests -name __pycache__ -type d -prune -exec rm -rf {} +
