package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kdx/capture/bzimage/bzimagetest"
	"kdx/capture/initrd"
	"kdx/capture/load"
	"kdx/internal/treetest"
	"kdx/repl"
)

// takesAll is a kernel that takes every image.
type takesAll struct{ root string }

func (k takesAll) FileLoad(_, _ *os.File, _ string, _ int) error {
	return os.WriteFile(filepath.Join(k.root, "sys/kernel/kexec_crash_loaded"), []byte("1\n"), 0o600)
}
func (takesAll) Reboot() error         { return nil }
func (takesAll) Sync()                 {}
func (takesAll) LinkDown(string) error { return nil }

// armableHost is a host made of files whose kernel loads capture kernels, with an initrd.
func armableHost(t *testing.T) (*load.Host, *initrd.Result) {
	t.Helper()
	root := initrdHost(t)
	treetest.PutAll(t, root, map[string]string{
		"boot/vmlinuz":                            string(bzimagetest.New(bzimagetest.Image{})),
		"proc/cmdline":                            "BOOT_IMAGE=/vmlinuz crashkernel=192M console=ttyS0 quiet\n",
		"proc/iomem":                              "00100000-3fffffff : System RAM\n  33000000-3effffff : Crash kernel\n",
		"proc/self/status":                        "Name:\tx\nCapEff:\t000001ffffffffff\n",
		"proc/cpuinfo":                            "processor\t: 0\nflags\t\t: fpu\ninitial apicid\t: 0\n\n",
		"proc/sys/kernel/osrelease":               "6.12.1-test\n",
		"proc/sys/kernel/random/boot_id":          "boot-1\n",
		"proc/sys/kernel/panic_on_oops":           "0\n",
		"proc/sys/kernel/kexec_load_disabled":     "0\n",
		"sys/kernel/kexec_crash_loaded":           "0\n",
		"sys/kernel/kexec_crash_size":             "201326592\n",
		"sys/kernel/crash_elfcorehdr_size":        "917616\n",
		"sys/devices/system/memory/crash_hotplug": "0\n",
	})
	built, err := initrd.Build(t.Context(), initrd.Spec{Kernel: root + "/boot/vmlinuz", Init: root + "/boot/init", Targets: []string{"raw:/dev/vda"}},
		initrd.Options{Root: root, Kdx: version(), Output: root + "/boot/initrd.kdx"})
	if err != nil {
		t.Fatal(err)
	}
	h := thisHost(stdio{err: os.Stderr}, "kdx capture load")
	h.Root, h.Calls = root, takesAll{root}
	return h, built
}

// loadShapes are the members of load's, reload's and status' JSON.
func loadShapes(t *testing.T) string {
	t.Helper()
	h, built := armableHost(t)
	time.Sleep(1100 * time.Millisecond) // files of the last second have no print
	line := load.Derive(load.Source{Running: "BOOT_IMAGE=/vmlinuz crashkernel=192M console=ttyS0 quiet"})
	var b strings.Builder
	shape := func(command string, out *loaded) {
		var js bytes.Buffer
		if err := answer(&js, true, command, []string{}, out, out.text); err != nil {
			t.Fatal(err)
		}
		b.WriteString("\n## `kdx " + command + "`\n\n" + shapeOfJSON(t, command, js.Bytes()))
	}
	job := load.Job{Kernel: "/boot/vmlinuz", Initrd: "/boot/initrd.kdx", Cmdline: line.Text, Crash: true, Sysctls: []string{"kernel.panic_on_oops=1"}}
	res, err := h.Load(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	shape("capture load", &loaded{Result: res, Line: &line, Built: built})
	if res, err = h.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	shape("capture reload", &loaded{Result: res})
	b.WriteString("\n## `kdx capture status`\n\n" + shapeOfAnswer(t, repl.OK, "capture", "status", "--json", "--root", h.Root))
	return b.String()
}

// TestLoadText: what a person reads after a load.
func TestLoadText(t *testing.T) {
	h, built := armableHost(t)
	built.Kept = []string{"--target raw:/dev/vda"}
	res, err := h.Load(t.Context(), load.Job{Kernel: "/boot/vmlinuz", Initrd: "/boot/initrd.kdx", Cmdline: "console=ttyS0", Crash: true})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := (&loaded{Result: res, Built: built}).text(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"armed: a panic starts /boot/vmlinuz (6.12.1-test) with /boot/initrd.kdx", "command line: console=ttyS0", "reservation: 192M", "keeps what it was built with before",
		"--target raw:/dev/vda"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not said:\n%s", want, b.String())
		}
	}
}
