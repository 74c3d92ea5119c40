package initrd

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"kdx/capture/config"
	"kdx/capture/plan"
	"kdx/capture/storage"
)

var nativeEndian = binary.NativeEndian

// static says why a program can't be the first of a system that has no libraries.
func static(data []byte) error {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("it is no program: %w", err)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New("it is linked dynamically, and there are no libraries; build it with CGO_ENABLED=0")
		}
	}
	return nil
}

// targets finds what each target stands on and how it is reached. All that is wrong is told at once.
func (b *builder) targets() error {
	var errs []error
	for i, t := range b.config.Targets {
		p := plan.Target{Target: t, Configured: t.String()}
		why := fmt.Sprintf("target %q", t.String())
		on, err := b.target(&p, why)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", why, err))
			continue
		}
		b.config.Targets[i] = p.Target
		b.plan.Targets = append(b.plan.Targets, p)
		b.result.Targets = append(b.result.Targets, ChosenTarget{p.Configured, on})
	}
	return errors.Join(errs...)
}

// target fills in what the host knows of a target and says what it stands on.
func (b *builder) target(p *plan.Target, why string) (on string, err error) {
	switch p.Kind {
	case config.Dir:
		m, err := b.opt.mountOf(b.host.root, p.Path)
		if err != nil {
			return "", err
		}
		p.Target = config.Target{Kind: config.FS, FS: m.FS, Device: m.Device, Subvol: m.Subvol, Path: m.Path}
		p.MountOptions = mountOptions(m)
		return b.local(p, why)
	case config.FS, config.Raw:
		return b.local(p, why)
	case config.SFTP, config.SSH:
		return b.overNetwork(p, why)
	}
	return "", fmt.Errorf("%q is no kind of target", p.Kind)
}

// mountOptions are those without which the filesystem would not be mounted again.
func mountOptions(m storage.Mount) string {
	var out []string
	for _, o := range m.Options {
		switch o {
		case "nouuid", "degraded": // xfs of which there is a copy; btrfs without one of its devices
			out = append(out, o)
		}
	}
	return strings.Join(out, ",")
}

// driver is the module that mounts a type of filesystem; "" if kdx does not save to that.
func driver(fs string) string {
	switch fs {
	case "ext2", "ext3", "ext4":
		return "ext4"
	case "xfs", "btrfs":
		return fs
	}
	return ""
}

func (b *builder) local(p *plan.Target, why string) (string, error) {
	d, err := b.opt.device(b.host.root, p.Target.Device)
	if err != nil {
		return "", err
	}
	p.Device = d
	b.needs = append(b.needs, wanted(d.Modules(), why, false)...)
	content := ""
	if d.Content != nil {
		content = d.Content.Type
	}
	if p.Kind == config.Raw {
		if driver(content) != "" || slices.Contains([]string{"LVM2_member", "linux_raid_member", "crypto_LUKS", "swap"}, content) {
			b.note("%s: there is %s on that device now, which the first dump overwrites", why, content)
		}
		return d.String(), nil
	}
	name := driver(p.FS)
	switch {
	case name == "":
		return "", fmt.Errorf("it is on %s, and kdx saves to ext4, xfs and btrfs", p.FS)
	case content != "" && driver(content) != name:
		return "", fmt.Errorf("there is %s on %s, not %s", content, p.Target.Device, p.FS)
	case content == "":
		b.note("%s: no filesystem was recognised on %s", why, p.Target.Device)
	}
	p.FS = name
	b.needs = append(b.needs, need{name: name, why: why})
	return d.String(), nil
}
