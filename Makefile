# Builds and installs kdx. Packages set DESTDIR, PREFIX, UNITDIR and RULESDIR; everything is static.
#
#   make                  kdx and kdx-init in build/
#   make install          below /usr/local, units in /etc/systemd/system
#   make install DESTDIR=/tmp/package PREFIX=/usr UNITDIR=/usr/lib/systemd/system RULESDIR=/usr/lib/udev/rules.d
#   make uninstall

PREFIX     ?= /usr/local
SBINDIR    ?= $(PREFIX)/sbin
LIBEXECDIR ?= $(PREFIX)/lib/kdx
MANDIR     ?= $(PREFIX)/share/man
DOCDIR     ?= $(PREFIX)/share/doc/kdx
UNITDIR    ?= /etc/systemd/system
RULESDIR   ?= /etc/udev/rules.d
GO         ?= go
INSTALL    ?= install

BUILD = CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w'
# The units are printed by a kdx that runs here, whatever GOARCH the installed one is for.
UNITS = CGO_ENABLED=0 GOOS= GOARCH= $(GO) run ./cmd/kdx capture units --kdx $(SBINDIR)/kdx --units-dir $(UNITDIR) --rules-dir $(RULESDIR) --root '$(DESTDIR)'

.PHONY: all install uninstall clean

all:
	$(BUILD) -o build/kdx ./cmd/kdx
	$(BUILD) -o build/kdx-init ./cmd/kdx-init

install: all
	$(INSTALL) -d '$(DESTDIR)$(SBINDIR)' '$(DESTDIR)$(LIBEXECDIR)' '$(DESTDIR)$(MANDIR)/man1' '$(DESTDIR)$(MANDIR)/man8' '$(DESTDIR)$(DOCDIR)'
	$(INSTALL) -m 755 build/kdx '$(DESTDIR)$(SBINDIR)/kdx'
	$(INSTALL) -m 755 build/kdx-init '$(DESTDIR)$(LIBEXECDIR)/kdx-init'
	$(INSTALL) -m 644 docs/man/kdx.1 '$(DESTDIR)$(MANDIR)/man1/kdx.1'
	$(INSTALL) -m 644 docs/man/kdx-capture.8 '$(DESTDIR)$(MANDIR)/man8/kdx-capture.8'
	$(INSTALL) -m 644 docs/*.md '$(DESTDIR)$(DOCDIR)'
	$(UNITS) --install

uninstall:
	$(UNITS) --remove
	rm -f '$(DESTDIR)$(SBINDIR)/kdx' '$(DESTDIR)$(LIBEXECDIR)/kdx-init' '$(DESTDIR)$(MANDIR)/man1/kdx.1' '$(DESTDIR)$(MANDIR)/man8/kdx-capture.8'
	rm -rf '$(DESTDIR)$(DOCDIR)'

clean:
	rm -rf build
