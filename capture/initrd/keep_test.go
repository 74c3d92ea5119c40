package initrd

import (
	"path/filepath"
	"slices"
	"testing"
)

// TestKeep: a load that builds anew was not told what a person gave.
func TestKeep(t *testing.T) {
	b := newBench(t)
	b.spec.Level, b.spec.Modules = "17", []string{"wanted"}
	b.put("etc/kdx/capture.conf", []byte("target = /var/crash\nlevel = 31\n"), 0o644)
	b.build()
	given := b.spec
	b.put("init", append(program(t), 1), 0o755) // something changed
	b.spec, b.opt.Keep = Spec{Kernel: given.Kernel}, true
	r := b.build()
	if want := []string{"--target xfs:/dev/nvme0n1:/dumps", "--level 17", "--module wanted", "--init " + given.Init}; !r.Built || !slices.Equal(r.Kept, want) {
		t.Errorf("%v: %q; want %q", r.Built, r.Kept, want)
	}
	if p := b.show().Plan; p.Targets[0].Configured != "xfs:/dev/nvme0n1:/dumps" || p.Config.Level != 17 {
		t.Errorf("%+v", p.Targets)
	}
	if r := b.build(); r.Built || len(r.Kept) == 0 {
		t.Errorf("built again because %s, kept %q", r.Why, r.Kept)
	}
	b.spec.Level = "1"
	if r := b.build(); !r.Built || slices.Contains(r.Kept, "--level 17") || b.show().Plan.Config.Level != 1 {
		t.Errorf("%v %q", r.Built, r.Kept)
	}
	b.spec, b.opt.Keep = Spec{Kernel: given.Kernel, Init: given.Init}, false
	if r := b.build(); !r.Built || len(r.Kept) > 0 || b.show().Plan.Targets[0].Configured != "/var/crash" {
		t.Errorf("%v %q", r.Why, r.Kept)
	}
	// A tree of modules is one release's.
	b.spec.ModulesDir = filepath.Join(b.root, "lib/modules", release)
	b.build()
	b.spec, b.opt.Keep = Spec{Kernel: given.Kernel}, true
	if r := b.build(); r.Built || !slices.Contains(r.Kept, "--modules-dir "+filepath.Join(b.root, "lib/modules", release)) {
		t.Errorf("%v %q", r.Why, r.Kept)
	}
}
