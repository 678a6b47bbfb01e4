# Which file goes where, with which mode. Both packages are made with this list and with nothing else:
#
#   make -f packaging/install.mk install DESTDIR=… PAMDIR=/usr/lib/<multiarch>/security     (from the root of the source tree)
#
# PAM_CONFIGS=yes adds the profile for Debian's pam-auth-update; ALPM_HOOK=yes adds the hook for Arch's pacman.

PREFIX     = /usr
SYSCONFDIR = /etc
LIBDIR     = $(PREFIX)/lib/pyhome
PAMDIR     = $(PREFIX)/lib/security
UNITDIR    = $(PREFIX)/lib/systemd/system
TMPFILES   = $(PREFIX)/lib/tmpfiles.d
CATALOG    = $(PREFIX)/lib/systemd/catalog
MANDIR     = $(PREFIX)/share/man
ZSHDIR     = $(PREFIX)/share/zsh/vendor-completions
DOCDIR     = $(PREFIX)/share/doc/pyhome
SHIM       = build/pam_pyhome.so
PAM_CONFIGS =
ALPM_HOOK   =

INSTALL = install -D
FILES   = packaging/files

# The Python tree: symbolic links become what they point at, and nothing but modules goes along.
MODULES := $(shell find -L pam_pyhome -name '*.py' | LC_ALL=C sort)
MANUALS := $(sort $(wildcard docs/man/*.[1-8]))

.PHONY: install
install:
	$(INSTALL) -m 0644 $(SHIM) $(DESTDIR)$(PAMDIR)/pam_pyhome.so
	for module in $(MODULES); do $(INSTALL) -m 0644 "$$module" "$(DESTDIR)$(LIBDIR)/$$module" || exit 1; done
	$(INSTALL) -m 0755 $(FILES)/pyhome-worker $(DESTDIR)$(LIBDIR)/pyhome-worker
	$(INSTALL) -m 0755 $(FILES)/pyhomed $(DESTDIR)$(LIBDIR)/pyhomed
	$(INSTALL) -m 0755 $(FILES)/pyhome-sync $(DESTDIR)$(LIBDIR)/pyhome-sync
	$(INSTALL) -m 0755 $(FILES)/pyhome-shell $(DESTDIR)$(LIBDIR)/pyhome-shell
	$(INSTALL) -m 0755 $(FILES)/pyhome $(DESTDIR)$(PREFIX)/bin/pyhome
	$(INSTALL) -m 0644 $(FILES)/pyhomed.socket $(DESTDIR)$(UNITDIR)/pyhomed.socket
	$(INSTALL) -m 0644 $(FILES)/pyhomed-unlock.socket $(DESTDIR)$(UNITDIR)/pyhomed-unlock.socket
	$(INSTALL) -m 0644 $(FILES)/pyhomed.service $(DESTDIR)$(UNITDIR)/pyhomed.service
	$(INSTALL) -m 0644 $(FILES)/pyhome-sync.path $(DESTDIR)$(UNITDIR)/pyhome-sync.path
	$(INSTALL) -m 0644 $(FILES)/pyhome-sync.timer $(DESTDIR)$(UNITDIR)/pyhome-sync.timer
	$(INSTALL) -m 0644 $(FILES)/pyhome-sync.service $(DESTDIR)$(UNITDIR)/pyhome-sync.service
	$(INSTALL) -m 0644 $(FILES)/tmpfiles.conf $(DESTDIR)$(TMPFILES)/pyhome.conf
	$(INSTALL) -m 0644 $(FILES)/pyhome.catalog $(DESTDIR)$(CATALOG)/pyhome.catalog
	$(INSTALL) -m 0644 $(FILES)/pyhome.conf $(DESTDIR)$(SYSCONFDIR)/pyhome.conf
	for page in $(MANUALS); do $(INSTALL) -m 0644 "$$page" "$(DESTDIR)$(MANDIR)/man$${page##*.}/$${page##*/}" || exit 1; done
	for page in README.md docs/design.md docs/formats.md docs/journal.md docs/json.md docs/threat-model.md docs/troubleshooting.md; do \
	  $(INSTALL) -m 0644 "$$page" "$(DESTDIR)$(DOCDIR)/$${page##*/}" || exit 1; done
	$(INSTALL) -m 0644 $(FILES)/completion.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/pyhome
	$(INSTALL) -m 0644 $(FILES)/completion.zsh $(DESTDIR)$(ZSHDIR)/_pyhome
	$(INSTALL) -m 0644 $(FILES)/completion.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/pyhome.fish
ifneq ($(PAM_CONFIGS),)
	$(INSTALL) -m 0644 packaging/debian/pam-configs/pyhome $(DESTDIR)$(PREFIX)/share/pam-configs/pyhome
endif
ifneq ($(ALPM_HOOK),)
	$(INSTALL) -m 0644 packaging/arch/pyhome.hook $(DESTDIR)$(PREFIX)/share/libalpm/hooks/pyhome.hook
endif
