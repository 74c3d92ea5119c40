package load

import (
	"slices"
	"strings"
	"testing"
)

func TestWords(t *testing.T) {
	for line, want := range map[string][]string{
		"":                           nil,
		"  a  b=c\td\n":              {"a", "b=c", "d"},
		`dyndbg="file a.c +p" quiet`: {`dyndbg="file a.c +p"`, "quiet"},
		`"dyndbg=file a.c +p" quiet`: {`"dyndbg=file a.c +p"`, "quiet"},
		`a="b c`:                     {`a="b c`},
	} {
		if got := splitWords(line); !slices.Equal(got, want) {
			t.Errorf("%q: %q", line, got)
		}
	}
	for word, want := range map[string][2]string{
		"quiet": {"quiet", ""}, "nr-cpus=4": {"nr_cpus", "4"}, `"dyndbg=file x"`: {"dyndbg", "file x"}, `root="a b"`: {"root", "a b"}, "rd.lvm.lv=vg/a": {"rd.lvm.lv", "vg/a"}, "=": {"", ""}, `"`: {"", ""},
	} {
		if n, v := nameOf(word), valueOf(word); n != want[0] || v != want[1] {
			t.Errorf("%q: %q, %q", word, n, v)
		}
	}
}

// own are the words that Derive adds on its own for one CPU.
const own = "nr_cpus=1 reset_devices panic=10 cgroup_disable=memory numa=off cma=0 hugetlb_cma=0 transparent_hugepage=never kfence.sample_interval=0 novmcoredd acpi_no_memhotplug hest_disable nokaslr initramfs_options=size=90%"

func TestDerive(t *testing.T) {
	one := func(running string) Source { return Source{Running: running, CPUs: 1, BootAPIC: 0} }
	for _, c := range []struct {
		from Source
		want string
	}{
		{one("BOOT_IMAGE=/boot/vmlinuz root=UUID=1 ro quiet splash crashkernel=384M-:128M console=tty0 console=ttyS0,115200n8"), "console=tty0 console=ttyS0,115200n8 " + own},
		{one("crashkernel=1G,high crashkernel=72M,low xcrashkernel=1M"), "xcrashkernel=1M " + own},
		{one("intel_iommu=on iommu=pt mitigations=off lockdown=integrity module_blacklist=x earlycon"), "intel_iommu=on iommu=pt mitigations=off lockdown=integrity module_blacklist=x earlycon " + own},
		{one("hugepages=512 default-hugepagesz=1G log_buf_len=16M slub_debug=FZP swiotlb=65536 rd.lvm.lv=a systemd.unit=x.target panic_on_warn=1 sysctl.kernel.panic=5 nmi_watchdog=panic"), own},
		{one("swiotlb=65536,force"), "swiotlb=65536,force " + own},
		{one("a -- b quiet"), "a " + own},
		{one(`dyndbg="file x.c +p" quiet`), `dyndbg="file x.c +p" ` + own},
		{one("numa=fake=2 nokaslr"), "numa=fake=2 nokaslr " + strings.Replace(strings.Replace(own, "numa=off ", "", 1), "nokaslr ", "", 1)},
		{Source{Running: "a", Base: "b quiet", CPUs: 1, BootAPIC: -1}, "b " + own},
		{Source{Running: "console=ttyS0 console=hvc0 earlyprintk=xen", CPUs: 1, Xen: true}, "console=ttyS0 " + own},
		{Source{Running: "console=hvc0", CPUs: 1}, "console=hvc0 " + own},
		{Source{Running: "console=tty0 a", CPUs: 1, Consoles: []string{"ttyS1,9600", "tty0"}}, "a console=ttyS1,9600 console=tty0 " + own},
		{Source{Running: "a", CPUs: 4, BootAPIC: 2}, "a nr_cpus=4 disable_cpu_apicid=2 " + strings.TrimPrefix(own, "nr_cpus=1 ")},
		{Source{Running: "a", CPUs: 0, BootAPIC: -1}, "a " + strings.TrimPrefix(own, "nr_cpus=1 ")},
		{Source{Running: "a b-c=1 d", CPUs: 1, Remove: []string{"b_c", "nokaslr", "cma"}}, "a d " + strings.Replace(strings.Replace(own, "nokaslr ", "", 1), " cma=0", "", 1)},
		{Source{Running: "a", CPUs: 1, Append: []string{"irqpoll panic=60", `x="y z" crashkernel=64M`, "irqpoll a"}}, "a " + strings.Replace(own, "panic=10 ", "", 1) + ` irqpoll panic=60 x="y z"`},
	} {
		line := Derive(c.from)
		if line.Text != c.want {
			t.Errorf("%+v:\n%s\n%s", c.from, line.Text, c.want)
		}
	}
	l := Derive(one("quiet a crashkernel=1M"))
	if len(l.Removed) != 2 || l.Removed[0].Word != "quiet" || l.Removed[0].Why == "" || len(l.Added) != 14 {
		t.Errorf("%+v", l)
	}
}

func TestReuse(t *testing.T) {
	const running = `BOOT_IMAGE=/vmlinuz a="b c" crashkernel=1G crashkernel=64M,low quiet`
	if got := Reuse(running, false); got != `a="b c" crashkernel=1G crashkernel=64M,low quiet` {
		t.Error(got)
	}
	if got := Reuse(running, true); got != `a="b c" quiet` {
		t.Error(got)
	}
}

func FuzzDerive(f *testing.F) {
	f.Add("root=/dev/sda1 quiet crashkernel=1G", `a="b c" -- d`, "numa x")
	f.Add("\"", "crashkernel=1", "-")
	f.Fuzz(func(t *testing.T, running, appended, remove string) {
		from := Source{Running: running, Append: []string{appended}, Remove: strings.Fields(remove), CPUs: 1, BootAPIC: -1}
		l := Derive(from)
		for _, w := range splitWords(l.Text) {
			if nameOf(w) == "crashkernel" && strings.Count(l.Text, `"`)%2 == 0 {
				t.Fatalf("crashkernel in %q", l.Text)
			}
		}
		// What was derived stays as it is when it is derived from again, quotes that don't close aside.
		if strings.Count(l.Text, `"`) == 0 {
			from = Source{Running: l.Text, CPUs: 1, BootAPIC: -1, Remove: from.Remove}
			for _, c := range Derive(from).Removed {
				if !slices.ContainsFunc(l.Added, func(a Change) bool { return a.Word == c.Word }) {
					t.Fatalf("%q was left in %q", c.Word, l.Text)
				}
			}
		}
	})
}
