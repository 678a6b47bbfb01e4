# What people type. On a bare Debian 12 or 13 with git and make, every target first installs what it needs.

SHELL  = /bin/bash
VENV   = build/venv
PYTHON = $(VENV)/bin/python
PYTEST = $(PYTHON) -m pytest -p tests.no_skips -p no:cacheprovider -v
# Mounting, name spaces and virtual machines' disks need root.
FUZZ   = SECONDS RUNS TARGETS
ROOT   = $(if $(filter-out 0,$(shell id -u)),sudo --preserve-env=CI --preserve-env=PYHOME_CACHE $(FUZZ:%=--preserve-env=FUZZ_%))

export PYTHONDONTWRITEBYTECODE = 1

.PHONY: help demo demo-vm test test-fast test-large fuzz model bench deb arch lint shim clean dependencies

help:
	@echo 'make demo        watch an encrypted home open and close, here, in seconds; nothing is changed'
	@echo 'make demo-vm     the same with eCryptfs in a virtual machine'
	@echo 'make test        test everything'
	@echo 'make test-fast   the tests that need no root and no virtual machine'
	@echo 'make test-large  encrypt and decrypt 20 000 files, killed all the way; takes an hour'
	@echo 'make fuzz        feed the parsers with anything for FUZZ_SECONDS=600 in all; FUZZ_TARGETS="policy relay" chooses some'
	@echo 'make model       thousands of random steps with homes, STEPS=5000: what pyhome says is what the kernel says'
	@echo 'make bench       how fast it is, beside pam_ecryptfs and pam_fscrypt'
	@echo 'make deb         dist/pyhome_*.deb'
	@echo 'make arch        dist/pyhome-*.pkg.tar.zst'
	@echo 'make lint        ruff, mypy, shellcheck'
	@echo 'make clean       remove build/ and dist/'

dependencies:
	@tests/install-dependencies

$(VENV)/ready: tests/requirements.txt tests/install-dependencies | dependencies
	rm -rf $(VENV)
	/usr/bin/python3 -m venv --system-site-packages $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --requirement tests/requirements.txt
	touch $@

shim: | dependencies
	$(MAKE) -C pam_pyhome/host

deb: | dependencies
	packaging/build-deb

arch: | dependencies
	packaging/build-arch

demo: shim $(VENV)/ready
	@$(ROOT) $(PYTHON) -m tests.demo.run

demo-vm: deb $(VENV)/ready
	$(ROOT) $(PYTHON) -m tests.vm.demo

# Most tests wait more than they work, so all begin at once.
test: lint deb shim
	$(ROOT) $(PYTHON) -m tests.together

test-fast: $(VENV)/ready
	$(PYTEST) tests/unit

test-large: deb shim $(VENV)/ready
	$(ROOT) $(PYTHON) -m tests.large.run

fuzz: $(VENV)/ready
	$(ROOT) $(PYTHON) -m tests.fuzz.run

model: deb shim $(VENV)/ready
	$(ROOT) $(PYTHON) -m tests.model.run '$(STEPS)' '$(SEED)' '$(GAME)' '$(KIND)'

bench: deb shim $(VENV)/ready
	$(ROOT) $(PYTHON) -m tests.bench.run

lint: $(VENV)/ready
	$(PYTHON) -m ruff check --no-cache .
	$(PYTHON) -m mypy --cache-dir build/mypy pam_pyhome tests
	shellcheck .ci/run packaging/files/completion.bash tests/install-dependencies packaging/copy-tree packaging/build-deb packaging/build-arch \
	  packaging/debian/pyhome.postinst packaging/debian/pyhome.prerm packaging/debian/pyhome.postrm packaging/arch/pyhome.install

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache
