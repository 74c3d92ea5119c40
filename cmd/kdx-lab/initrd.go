package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// guestModules are loaded in the guest, with what they depend on; a missing one is built in, or not there yet in that release.
var guestModules = []string{
	"ipv6", "dummy", "veth", "bridge", "tun", "loop", "fuse", "brd", "zram", "dm-mod", "overlay", "qemu_fw_cfg", "vsock_loopback", "sctp", "nbd", "btrfs",
}

// applets are the busybox commands that the guest scripts use.
var applets = strings.Fields(`sh mount umount mkdir cat echo sleep ls ip insmod poweroff sync dd nc httpd top cp rm ln mkfifo mknod
	sysctl mkswap swapon mke2fs losetup touch tee tail head chmod true kill ps sort wc test basename mv reboot sed`)

// captureInitrd is what the capture kernel runs: busybox and one script, small because it has little memory.
func (l *lab) captureInitrd() ([]byte, error) {
	var buf bytes.Buffer
	z, err := gzip.NewWriterLevel(&buf, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	c := newCpioWriter(z)
	if err := l.addBase(c); err != nil {
		return nil, err
	}
	c.file("init", 0o755, l.data("guest", "capture.sh"))
	if err := c.close(); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// guestInitrd writes the root file system of the kernel that will crash.
func (l *lab) guestInitrd(ctx context.Context, k kernel, helper string, modules []string, out string) error {
	capture, err := l.captureInitrd()
	if err != nil {
		return err
	}
	return writeInitrd(out, func(c *cpioWriter) error {
		if err := l.addGuest(c, k, helper); err != nil {
			return err
		}
		c.bytes("boot/capture.img", 0o644, capture)
		return addLoaded(ctx, c, k, slices.Concat(guestModules, modules))
	})
}

// writeInitrd writes a packed archive of what fill puts into it.
func writeInitrd(out string, fill func(c *cpioWriter) error) error {
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		return err
	}
	c := newCpioWriter(z)
	if err := fill(c); err != nil {
		return err
	}
	return errors.Join(c.close(), z.Close(), f.Close())
}

// addGuest adds what every guest that will crash has.
func (l *lab) addGuest(c *cpioWriter, k kernel, helper string) error {
	if err := l.addBase(c); err != nil {
		return err
	}
	for _, script := range []string{"init.sh", "workload.sh"} {
		c.file(script, 0o755, l.data("guest", script))
	}
	c.symlink("init", "init.sh")
	c.file("bin/kdx-lab", 0o755, helper)
	c.file("boot/vmlinuz", 0o644, k.vmlinuz())
	return c.err
}

// addLoaded adds the modules that init.sh loads, with what they need.
func addLoaded(ctx context.Context, c *cpioWriter, k kernel, modules []string) error {
	set, err := newModuleSet(k)
	if err != nil {
		return err
	}
	var order strings.Builder
	for _, m := range modules {
		if err := set.add(ctx, m); err != nil {
			return err
		}
	}
	for _, m := range set.order {
		c.bytes("modules/"+m.name+".ko", 0o644, m.data)
		fmt.Fprintln(&order, m.name)
	}
	c.bytes("modules/order", 0o644, []byte(order.String()))
	return c.err
}

// addBase adds directories, busybox and its links.
func (l *lab) addBase(c *cpioWriter) error {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	for _, d := range strings.Fields("bin proc sys dev mnt tmp run etc modules boot root") {
		c.dir(d)
	}
	c.file("bin/busybox", 0o755, busybox)
	for _, a := range applets {
		c.symlink("bin/"+a, "busybox")
	}
	return c.err
}

// buildHelper builds kdx-lab itself, static, to run inside the guest.
func (l *lab) buildHelper(ctx context.Context) (string, error) {
	return l.build(ctx, "kdx-lab")
}

// build builds one of the commands of the checkout into the lab.
func (l *lab) build(ctx context.Context, name string) (string, error) {
	out := filepath.Join(l.dir, "bin", name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, "./cmd/"+name)
	cmd.Dir = l.repo
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w: %s", name, err, tail(string(text), 5))
	}
	return out, nil
}
