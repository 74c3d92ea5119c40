package main

import (
	"context"
	"path/filepath"
)

// emulator is a QEMU. The zero value is the machine's own.
type emulator struct {
	line, env []string
}

func (q emulator) command() []string {
	if q.line == nil {
		return []string{"qemu-system-x86_64"}
	}
	return q.line
}

// newestQEMU is the one of the peers' chroot, started through that system's loader, as it must see this machine's files. It is for
// measurements: since 8.2 the CPU that QEMU emulates has the SHA extensions, as servers have.
func (l *lab) newestQEMU(ctx context.Context) (emulator, error) {
	p, err := l.peers(ctx)
	if err != nil {
		return emulator{}, err
	}
	program := filepath.Join(p.root, "usr/bin/qemu-system-x86_64")
	if !exists(program) {
		l.logf("installing QEMU of sid into %s", p.root)
		if _, err := p.run(ctx, nil, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "--no-install-recommends", "qemu-system-x86"); err != nil {
			return emulator{}, err
		}
	}
	libraries := filepath.Join(p.root, "usr/lib/x86_64-linux-gnu")
	return emulator{
		line: []string{
			filepath.Join(p.root, "lib64/ld-linux-x86-64.so.2"), "--library-path", libraries, program,
			"-L", filepath.Join(p.root, "usr/share/qemu"), "-L", filepath.Join(p.root, "usr/share/seabios"),
		},
		env: []string{"QEMU_MODULE_DIR=" + filepath.Join(libraries, "qemu")},
	}, nil
}
