package reserve

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"kdx/internal/treetest"
)

func TestMemparse(t *testing.T) {
	for _, tt := range []struct {
		in   string
		n    uint64
		rest string
	}{
		{"256M", 256 << 20, ""}, {"256m", 256 << 20, ""}, {"1G@", 1 << 30, "@"}, {"0x10M", 16 << 20, ""}, {"0X1f", 31, ""}, {"010M", 8 << 20, ""},
		{"08M", 0, "8M"}, {"0xM", 0, "xM"}, {"", 0, ""}, {"-1", 0, "-1"}, {"M", 0, "M"}, {"12", 12, ""}, {"1T", 1 << 40, ""}, {"1P", 1 << 50, ""}, {"1E", 1 << 60, ""},
		{"256MB", 256 << 20, "B"}, {"1.5G", 1, ".5G"}, {"16E", 0, ""}, {"18446744073709551616", 0, ""}, {"0", 0, ""}, {"1`", 1, "`"},
	} {
		n, rest := memparse(tt.in)
		if n != tt.n || rest != tt.rest {
			t.Errorf("memparse(%q) = %d, %q; want %d, %q", tt.in, n, rest, tt.n, tt.rest)
		}
	}
}

// TestExplain: by kernel/crash_reserve.c of 6.17 and later; others by that of 6.7 and by reserve_crashkernel of arch/x86 up to 6.6.
func TestExplain(t *testing.T) {
	const ck = "crashkernel="
	for _, tt := range []struct {
		cmdline, ram string
		outcome      string
		others       string // outcome of the oldest rules, if another
		say          string // what a step, a trap or a word's reason says
	}{
		{"quiet", "4G", "nothing is reserved: the command line has no crashkernel=", "", ""},
		{ck + "256M", "4G", "256M below 4G (if there is no room, above it, and 256M below)", "", "16M"},
		{ck + "64M@16M", "1G", "64M at 0x1000000", "", "there or nowhere"},
		{ck + "64M@17M", "1G", "nothing is reserved: crashkernel=64M@17M: its offset 0x1100000 is no multiple of 16M, and an offset allows no other place", "64M at 0x1100000", ""},
		{ck + "64M@", "1G", "64M below 4G (if there is no room, above it, and 256M below)", "", "taken as 0"},
		{ck + "64M@16Mx", "1G", "64M at 0x1000000", "", `"x" behind the offset is ignored`},
		{ck + "384M-2G:64M,2G-:128M", "1536M", "64M below 4G (if there is no room, above it, and 256M below)", "", "below 2G: matches, 64M"},
		{ck + "384M-2G:64M,2G-:128M", "300M", "64M below 4G (if there is no room, above it, and 256M below)", "nothing is reserved: crashkernel=384M-2G:64M,2G-:128M: it asks for nothing at this size of RAM", "rounded up to 384M"},
		{ck + "384M-2G:64M,2G-:128M", "256M", "nothing is reserved: crashkernel=384M-2G:64M,2G-:128M: it asks for nothing at this size of RAM", "", "resulted in zero bytes"},
		{ck + "384M-2G:64M,2G-:128M", "2000M", "128M below 4G (if there is no room, above it, and 256M below)", "64M below 4G (if there is no room, above it, and 256M below)", ""},
		{ck + "384M-2G:64M,2G-:128M@16M", "8G", "128M at 0x1000000", "", "one offset"},
		{ck + "1G-2G:4G,2G-:256M", "3G", "nothing is reserved: crashkernel=1G-2G:4G,2G-:256M: range 1G-2G:4G asks for 4G, which is not less than the RAM of 3G: that makes the whole word invalid, even if a later range would match", "", ""},
		{ck + "2G-1G:64M", "4G", "nothing is reserved: crashkernel=2G-1G:64M: the range \"2G-1G:64M\" ends before it starts", "", ""},
		{ck + "2G:64M", "4G", "nothing is reserved: crashkernel=2G:64M: a - is missing behind the start of the range \"2G:64M\"", "", ""},
		{ck + "1G-:", "4G", "nothing is reserved: crashkernel=1G-:: no size stands behind the colon of \"1G-:\"", "", ""},
		{ck + "1G-x:1M", "4G", "nothing is reserved: crashkernel=1G-x:1M: the end of the range \"1G-x:1M\" is no size", "", ""},
		{ck + "1G-2G", "4G", "nothing is reserved: crashkernel=1G-2G: \"-2G\" stands behind the size; the kernel takes nothing there but @ and an offset (a range needs a size behind a colon: 2G-:256M)", "", ""},
		{ck + "1G-:64M@", "4G", "nothing is reserved: crashkernel=1G-:64M@: no offset stands behind @ in \"1G-:64M@\"", "", ""},
		{ck + "2G-:256M,high", "8G", "nothing is reserved: crashkernel=2G-:256M,high: \"2G-:256M,high\" is not a size and ,high: \"-:256M\" stands between them (ranges and offsets can't be used with ,high)", "", ""},
		{ck + "180M,high", "64G", "180M above 4G and 256M below it", "", "nothing is said of ,low"},
		{ck + "180M,high", "1G", "180M above 4G and 256M below it", "", "no memory above 4G"},
		{ck + "180M,high " + ck + "72M,low", "64G", "180M above 4G and 72M below it", "", ""},
		{ck + "180M,high " + ck + "0,low", "64G", "180M above 4G", "", "nothing is reserved below"},
		{ck + "180M,high " + ck + "x,low", "64G", "nothing is reserved: crashkernel=x,low: \"x,low\" begins with no size. That takes the word with ,high with it", "180M above 4G and 256M below it", ""},
		{ck + "72M,low", "64G", "nothing is reserved: ,low needs a word that reserves the main part: a plain one, or one with ,high", "", ""},
		{ck + "64M,cma", "64G", "nothing is reserved: ,cma needs a word that reserves the main part: a plain one", "", ""},
		{ck + "64M,cma " + ck + "192M", "8G", "192M below 4G (if there is no room, above it, and 256M below), and 64M of CMA", "192M below 4G (if there is no room, above it, and 256M below)", "lost from the dump"},
		{ck + "192M " + ck + "64M,cma", "8G", "192M below 4G (if there is no room, above it, and 256M below), and 64M of CMA",
			"nothing is reserved: crashkernel=64M,cma: \",cma\" stands behind the size; the kernel takes nothing there but @ and an offset (suffixes are ,high ,low and ,cma, in small letters, at the end of the word)", ""},
		{ck + "180M,high " + ck + "64M,cma", "64G", "180M above 4G and 256M below it, and 64M of CMA", "180M above 4G and 256M below it", ""},
		{ck + "256M " + ck + "180M,high " + ck + "72M,low", "64G", "256M below 4G (if there is no room, above it, and 256M below)", "256M below 4G (if there is no room, above it, and 72M below)", "leave that out"},
		{ck + "256MB " + ck + "180M,high", "64G", "nothing is reserved: crashkernel=256MB: \"B\" stands behind the size; the kernel takes nothing there but @ and an offset (units are one letter: 256M, not 256MB)", "180M above 4G and 256M below it", "is not tried"},
		{ck + "128M " + ck + "256M", "8G", "256M below 4G (if there is no room, above it, and 256M below)", "", "a later word"},
		{ck + "256M " + ck + "0", "8G", "nothing is reserved: crashkernel=0: it asks for nothing at this size of RAM", "", ""},
		{"x" + ck + "256M", "8G", "256M below 4G (if there is no room, above it, and 256M below)", "", "within another word"},
		{ck + "auto", "8G", "nothing is reserved: crashkernel=auto: crashkernel=auto is known to Red Hat's kernels up to RHEL 8 only", "", ""},
		{ck + "08M", "8G", "nothing is reserved: crashkernel=08M: \"8M\" stands behind the size; the kernel takes nothing there but @ and an offset (a number that begins with 0 is octal, and has no digits 8 and 9)", "", ""},
		{ck, "8G", "nothing is reserved: crashkernel=: \"\" begins with no size", "", ""},
		{ck + "8G", "64G", "8G below 4G (if there is no room, above it, and 256M below)", "", "don't fit below 4G"},
		{ck + "4G", "4G", "nothing is reserved: crashkernel=4G: it asks for 4G, and the machine has no more than 4G", "", ""},
	} {
		ram, ok := ParseSize(tt.ram)
		if !ok {
			t.Fatal(tt.ram)
		}
		a, err := ArchOf("x86_64")
		if err != nil {
			t.Fatal(err)
		}
		r := Explain(tt.cmdline, ram, a)
		if got := r.Outcome(); got != tt.outcome {
			t.Errorf("%s, %s:\n got %s\nwant %s", tt.cmdline, tt.ram, got, tt.outcome)
		}
		oldest := ""
		if i := slices.IndexFunc(r.Others, func(o Other) bool { return o.Kernels == "5.10 and before" }); i >= 0 {
			oldest = r.Others[i].Outcome
		}
		if oldest != tt.others {
			t.Errorf("%s, %s: kernels up to 5.10:\n got %s\nwant %s", tt.cmdline, tt.ram, oldest, tt.others)
		}
		var b bytes.Buffer
		if err := r.Text(&b); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), tt.say) {
			t.Errorf("%s, %s: no %q in\n%s", tt.cmdline, tt.ram, tt.say, &b)
		}
	}
}

func TestArch(t *testing.T) {
	a, err := ArchOf("aarch64")
	if err != nil {
		t.Fatal(err)
	}
	r := Explain("crashkernel=256M,high", 16<<30, a)
	if r.Align != 2<<20 || r.Low != 128<<20 {
		t.Errorf("arm64: align %d, low %d", r.Align, r.Low)
	}
	if _, err := ArchOf("s390x"); err == nil {
		t.Error("s390x has no generic reservation")
	}
}

// hostDir makes a root with the files of a host.
func hostDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	treetest.PutAll(t, dir, files)
	return dir
}

func TestHost(t *testing.T) {
	const ram = "00001000-0009ffff : System RAM\n00100000-7fffffff : System RAM\n"
	const crash = "  70000000-7bffffff : Crash kernel\n"
	for _, tt := range []struct {
		name  string
		files map[string]string
		state State
		bytes uint64
		note  string
	}{
		{"as asked", map[string]string{"proc/cmdline": "crashkernel=192M\n", "proc/iomem": ram + crash, "sys/kernel/kexec_crash_size": "201326592\n"}, Reserved, 192 << 20, ""},
		{"new name", map[string]string{"proc/cmdline": "crashkernel=192M\n", "proc/iomem": ram + crash, "sys/kernel/kexec/crash_size": "201326592\n"}, Reserved, 192 << 20, ""},
		{"two parts", map[string]string{"proc/cmdline": "crashkernel=192M,high crashkernel=16M,low\n", "sys/kernel/kexec_crash_size": "201326592\n",
			"proc/iomem": ram + "  6f000000-6fffffff : Crash kernel\n100000000-1ffffffff : System RAM\n  170000000-17bffffff : Crash kernel\n"}, Reserved, 208 << 20, ""},
		{"shrunk", map[string]string{"proc/cmdline": "crashkernel=256M\n", "proc/iomem": ram + crash, "sys/kernel/kexec_crash_size": "201326592\n"}, Differs, 192 << 20, "64M less than asked for"},
		{"older rules", map[string]string{"proc/cmdline": "crashkernel=256MB crashkernel=192M,high", "proc/iomem": ram + crash, "sys/kernel/kexec_crash_size": "201326592\n"}, Reserved, 192 << 20, "as kernels 6.1 to 6.6 read the words"},
		{"cma on older", map[string]string{"proc/cmdline": "crashkernel=192M crashkernel=64M,cma", "proc/iomem": ram, "sys/kernel/kexec_crash_size": "0\n"}, Refused, 0, "or it is one of 6.7 to 6.16: nothing is reserved"},
		{"other low part", map[string]string{"proc/cmdline": "crashkernel=192M,high", "sys/kernel/kexec_crash_size": "201326592\n",
			"proc/iomem": ram + "  6f000000-6fffffff : Crash kernel\n100000000-1ffffffff : System RAM\n  170000000-17bffffff : Crash kernel\n"}, Differs, 208 << 20, "another size for the low part"},
		{"not asked", map[string]string{"proc/cmdline": "quiet\n", "proc/iomem": ram, "sys/kernel/kexec_crash_size": "0\n"}, NotAsked, 0, "boot loader"},
		{"refused", map[string]string{"proc/cmdline": "crashkernel=192MB\n", "proc/iomem": ram, "sys/kernel/kexec_crash_size": "0\n"}, Refused, 0, "one letter"},
		{"no place", map[string]string{"proc/cmdline": "crashkernel=192M\n", "proc/iomem": ram, "sys/kernel/kexec_crash_size": "0\n"}, Refused, 0, "dmesg"},
		{"not root", map[string]string{"proc/cmdline": "crashkernel=192M\n", "proc/iomem": "00000000-00000000 : System RAM\n", "sys/kernel/kexec_crash_size": "201326592\n"}, Unchecked, 192 << 20, "root only"},
		{"nothing known", map[string]string{"proc/cmdline": "crashkernel=1M"}, Hidden, 0, "no map of memory"},
		{"not root, nothing there", map[string]string{"proc/cmdline": "crashkernel=1M", "proc/iomem": "00000000-00000000 : System RAM\n", "sys/kernel/kexec_crash_size": "0"}, Refused, 0, "dmesg"},
		{"no kexec", map[string]string{"proc/cmdline": "quiet", "proc/iomem": ram}, NotAsked, 0, "without kexec"},
		{"unasked", map[string]string{"proc/cmdline": "quiet", "proc/iomem": ram + crash, "sys/kernel/kexec_crash_size": "201326592"}, Differs, 192 << 20, "built in"},
	} {
		h, err := ReadHost(hostDir(t, tt.files))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		r := h.Compare("amd64")
		if r.State != tt.state || (r.Bytes == nil) != (tt.state == Hidden) || r.Bytes != nil && *r.Bytes != tt.bytes || !strings.Contains(strings.Join(r.Notes, "\n"), tt.note) {
			t.Errorf("%s: %s, %v bytes, %q; want %s, %d, %q", tt.name, r.State, r.Bytes, r.Notes, tt.state, tt.bytes, tt.note)
		}
		if err := r.Text(&bytes.Buffer{}); err != nil {
			t.Error(err)
		}
	}
	h, err := ReadHost(hostDir(t, map[string]string{"proc/cmdline": "crashkernel=192M", "proc/iomem": ram + crash, "sys/kernel/kexec/crash_cma_ranges": "40000000-43ffffff\n48000000-4bffffff\n"}))
	if err != nil {
		t.Fatal(err)
	}
	if r := h.Compare("amd64"); r.CMABytes == nil || *r.CMABytes != 128<<20 {
		t.Errorf("CMA: %v", r.CMABytes)
	}
	if _, err := ReadHost(t.TempDir()); err == nil {
		t.Error("a host without /proc/cmdline must be an error")
	}
	if _, err := ReadHost(hostDir(t, map[string]string{"proc/cmdline": "", "sys/kernel/kexec_crash_size": "x"})); err == nil {
		t.Error("a crash_size that is no number must be an error")
	}
}

// FuzzExplain: nothing that may stand in a command line panics, and what is said holds together.
func FuzzExplain(f *testing.F) {
	for _, s := range []string{"crashkernel=256M", "crashkernel=384M-2G:64M,2G-:128M@16M", "crashkernel=1G,high crashkernel=0,low crashkernel=64M,cma", "xcrashkernel=08M", "crashkernel=crashkernel=1M,low", "crashkernel=0x"} {
		f.Add(s, uint64(4<<30), true)
	}
	f.Fuzz(func(t *testing.T, line string, ram uint64, x86 bool) {
		a := archs[1]
		if x86 {
			a = archs[0]
		}
		r := Explain(line, ram, a)
		if (r.Size == 0) != (r.Why != "") {
			t.Fatalf("%q: size %d, why %q", line, r.Size, r.Why)
		}
		if r.Size >= ram && r.Size > 0 {
			t.Fatalf("%q reserves %d of %d bytes", line, r.Size, ram)
		}
		for _, w := range r.Words {
			if w.Used == (w.Why != "") {
				t.Fatalf("%q: word %+v", line, w)
			}
		}
	})
}

// FuzzIomem: a map of memory is text from elsewhere when a sosreport is read.
func FuzzIomem(f *testing.F) {
	f.Add([]byte("00001000-0009ffff : System RAM\n  70000000-7bffffff : Crash kernel\n"))
	f.Add([]byte("no map"))
	f.Add([]byte("0-ffffffffffffffff : System RAM\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h := &Host{Cmdline: "crashkernel=192M"}
		h.readIomem(b)
		_ = h.Compare("amd64").Text(&bytes.Buffer{})
	})
}
