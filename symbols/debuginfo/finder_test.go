package debuginfo

import (
	"bytes"
	"compress/gzip"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kdx/internal/filecache"
	"kdx/internal/treetest"
	"kdx/internal/unpack"
	"kdx/symbols/debuginfo/debuginfod"
)

const (
	rel    = "6.1.0-9-test"
	banner = "Linux version " + rel + " (a@b) (gcc) #1 SMP Debian 6.1.5-1"
)

// host is a root directory with files.
type host struct {
	t    *testing.T
	root string
}

func newHost(t *testing.T) host { return host{t, t.TempDir()} }

func (h host) path(p string) string { return filepath.Join(h.root, p) }

func (h host) put(path string, data []byte) string {
	h.t.Helper()
	return treetest.Put(h.t, h.root, path, data)
}

func (h host) want() Want {
	return Want{Release: rel, BuildID: idA, Machine: elf.EM_X86_64, Dumps: []string{h.path("case/vmcore")}}
}

func (h host) find(want Want, opt Options) *Result {
	h.t.Helper()
	opt.Root = h.root
	r, err := New(want, opt).Kernel(context.Background())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { r.Close() })
	return r
}

func (r *Result) at(path string) Candidate {
	for _, c := range r.Candidates {
		if c.Path == path {
			return c
		}
	}
	return Candidate{}
}

func zipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

var good = spec{id: idA, dwarf: true, symbols: true, banner: banner, progs: true}

func TestPlaces(t *testing.T) {
	for _, place := range []string{"usr/lib/debug/.build-id/aa/" + idA[2:] + ".debug", "usr/lib/debug/boot/vmlinux-" + rel, "usr/lib/debug/boot/vmlinux-" + rel + ".debug",
		"usr/lib/debug/lib/modules/" + rel + "/vmlinux", "usr/lib/debug/usr/lib/modules/" + rel + "/vmlinux.debug", "boot/vmlinux-" + rel, "lib/modules/" + rel + "/build/vmlinux",
		"usr/src/linux-" + rel + "/vmlinux", "case/vmlinux", "case/vmlinux.debug", "case/debug/vmlinux-" + rel, "case/modules/vmlinux",
		"given/vmlinux", "given/usr/lib/debug/boot/vmlinux-" + rel, "given/.build-id/aa/" + idA[2:] + ".debug"} {
		for _, ext := range []string{"", ".gz"} {
			h := newHost(t)
			data := build(good)
			if ext != "" {
				data = zipped(data)
			}
			path := h.put(place+ext, data)
			r := h.find(h.want(), Options{Dirs: []string{h.path("given")}})
			if r.Best == nil || r.Best.Path != path || r.Best.Outcome != Match || r.Best.By != "build-id" || (r.Best.Unpacked != nil) != (ext != "") {
				t.Errorf("%s: %+v", place+ext, r.Best)
			}
		}
	}
}

func TestOutcomes(t *testing.T) {
	h := newHost(t)
	put := func(path string, s spec) string { return h.put(path, build(s)) }
	other := good
	other.id, other.banner = idB, "Linux version "+rel+" (c@d) #2"
	arm := good
	arm.machine = elf.EM_AARCH64
	bare := spec{id: idA, banner: banner}
	truncated := build(good)
	want := map[string]Outcome{
		put("case/vmlinux", other):                                      OtherBuild,
		put("case/vmlinux.debug", arm):                                  OtherMachine,
		h.put("case/vmlinux-"+rel, truncated[:len(truncated)-9]):        Damaged,
		h.put("case/debug/vmlinux", []byte("text")):                     Damaged,
		h.put("case/debug/vmlinux.gz", []byte("\x1f\x8b\x08torn")):      Damaged,
		put("usr/lib/debug/boot/vmlinux-"+rel, bare):                    Stripped,
		put("boot/vmlinux-"+rel, spec{id: idA, symbols: true}):          NoDWARF,
		put("lib/modules/"+rel+"/vmlinux", good):                        Match,
		h.path("usr/lib/debug/boot/vmlinux-" + rel + ".debug"):          Absent,
		h.path("usr/lib/debug/lib/modules/" + rel + "/vmlinux"):         Absent,
		h.put("usr/src/linux-"+rel+"/vmlinux.gz", zipped(build(other))): OtherBuild,
	}
	link := h.path("lib/modules/" + rel + "/build")
	if err := os.MkdirAll(link, 0o755); err != nil {
		t.Fatal(err)
	}
	want[filepath.Join(link, "vmlinux")] = Repeated
	if err := os.Symlink(h.path("lib/modules/"+rel+"/vmlinux"), filepath.Join(link, "vmlinux")); err != nil {
		t.Fatal(err)
	}
	dangling := h.path("lib/modules/" + rel + "/source/vmlinux")
	os.MkdirAll(filepath.Dir(dangling), 0o755)
	if err := os.Symlink("/nowhere/vmlinux", dangling); err != nil {
		t.Fatal(err)
	}
	want[dangling] = Absent
	r := h.find(h.want(), Options{All: true})
	for path, outcome := range want {
		c := r.at(path)
		if c.Outcome != outcome {
			t.Errorf("%s: %q (%s); want %q", path, c.Outcome, c.Why, outcome)
		}
	}
	if c := r.at(h.path("case/vmlinux")); !strings.Contains(c.Why, idA) || !strings.Contains(c.Why, idB) || !strings.Contains(c.Why, rel) {
		t.Errorf("another build: %q", c.Why)
	}
	if c := r.at(h.path("case/vmlinux-" + rel)); !strings.Contains(c.Why, "truncated") {
		t.Errorf("a truncated file: %q", c.Why)
	}
	if r.Best == nil || r.Best.Outcome != Match {
		t.Fatalf("best: %+v", r.Best)
	}
	if g := h.find(h.want(), Options{Files: []string{h.path("case/vmlinux"), h.path("gone")}}); g.Candidates[0].Outcome != OtherBuild || g.Candidates[1].Outcome != Absent {
		t.Errorf("files that are named: %+v", g.Candidates[:2])
	}
	// A pipe would wait for its writer.
	pipe := h.path("case/debug/vmlinux.debug")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if c := h.find(h.want(), Options{All: true}).at(pipe); c.Outcome != Absent {
		t.Errorf("a pipe is %q", c.Outcome)
	}
	if _, err := identifyPath(pipe); err == nil {
		t.Error("a pipe was identified")
	}
	if _, err := checksum(pipe); err == nil {
		t.Error("a pipe has a checksum")
	}
	first := h.find(h.want(), Options{})
	if n := len(first.Candidates); n >= len(r.Candidates) || first.Candidates[n-1].Outcome != Match {
		t.Errorf("the search does not end at the match: %d of %d", n, len(r.Candidates))
	}
}

// TestIdentities: what a match rests on where the build-id does not settle it.
func TestIdentities(t *testing.T) {
	other := good
	other.id = idB
	none := good
	none.id = ""
	debugOnly := none
	debugOnly.banner = ""
	otherBanner := none
	otherBanner.banner = "Linux version " + rel + " (c@d) #2"
	for name, test := range map[string]struct {
		file spec
		want func(*Want)
		by   string // "" for no match
	}{
		"build-id":                        {good, func(*Want) {}, "build-id"},
		"another build-id":                {other, func(*Want) {}, ""},
		"another build-id, equal banners": {other, func(w *Want) { w.Banner = banner + "\n" }, "banner"},
		"the same, but sure":              {other, func(w *Want) { w.Banner, w.Sure = banner, true }, ""},
		"dump without build-id":           {good, func(w *Want) { w.BuildID, w.Banner = "", banner }, "banner"},
		"file without build-id":           {none, func(w *Want) { w.Banner = banner }, "banner"},
		"another banner":                  {otherBanner, func(w *Want) { w.Banner = banner }, ""},
		"release only":                    {otherBanner, func(w *Want) { w.BuildID = "" }, "release"},
		"name only":                       {debugOnly, func(*Want) {}, "name"},
		"garbage for a build-id":          {good, func(w *Want) { w.BuildID = "not hex" }, "release"},
	} {
		h := newHost(t)
		h.put("boot/vmlinux-"+rel, build(test.file))
		w := h.want()
		test.want(&w)
		r := h.find(w, Options{})
		switch {
		case test.by == "" && r.Best != nil:
			t.Errorf("%s: matches by %s", name, r.Best.By)
		case test.by != "" && (r.Best == nil || r.Best.By != test.by):
			t.Errorf("%s: %+v; want a match by %s", name, r.Best, test.by)
		}
	}
	// A release that would lead elsewhere.
	h := newHost(t)
	h.put("secret", build(good))
	w := h.want()
	w.Release = "../../secret"
	for _, c := range h.find(w, Options{}).Candidates {
		if strings.Contains(c.Path, "secret") {
			t.Errorf("looked at %s", c.Path)
		}
	}
}

func TestLinks(t *testing.T) {
	h := newHost(t)
	debug := build(spec{id: idA, dwarf: true})
	h.put("boot/vmlinux-"+rel, build(spec{id: idA, symbols: true, link: "vmlinux.sep"}))
	path := h.put("boot/.debug/vmlinux.sep", debug)
	if r := h.find(h.want(), Options{}); r.Best == nil || r.Best.Path != path {
		t.Errorf("by .gnu_debuglink: %+v", r.Best)
	}
	// Without a build-id the checksum decides.
	for _, right := range []bool{true, false} {
		h := newHost(t)
		debug := build(spec{dwarf: true, banner: banner})
		crc := crc32.ChecksumIEEE(debug)
		if !right {
			crc++
		}
		h.put("boot/vmlinux-"+rel, build(spec{symbols: true, link: "vmlinux.sep", crc: crc, banner: banner}))
		path := h.put("boot/vmlinux.sep", debug)
		r := h.find(h.want(), Options{})
		if got := r.Best != nil && r.Best.Path == path; got != right {
			t.Errorf("checksum right: %v; best %+v", right, r.Best)
		}
		if !right && !strings.Contains(r.at(path).Why, "checksum") {
			t.Errorf("%+v", r.at(path))
		}
	}
	// A name that would lead elsewhere is not followed.
	h = newHost(t)
	h.put("boot/vmlinux-"+rel, build(spec{id: idA, symbols: true, link: "../x/vmlinux"}))
	h.put("x/vmlinux", debug)
	if r := h.find(h.want(), Options{}); r.Best == nil || r.Best.Outcome != NoDWARF {
		t.Errorf("followed out of the directory: %+v", r.Best)
	}
}

func TestAlternate(t *testing.T) {
	const dwz = "usr/lib/debug/.dwz/x86_64/kernel"
	for name, test := range map[string]struct {
		alt, at, id string
	}{
		"relative":            {"../.dwz/x86_64/kernel", dwz, idB},
		"absolute":            {"/usr/lib/debug/.dwz/x86_64/kernel", dwz, idB},
		"under another root":  {"/usr/lib/debug/.dwz/x86_64/kernel", "given/.dwz/x86_64/kernel", idB},
		"by build-id":         {"gone", "usr/lib/debug/.build-id/bb/" + idB[2:] + ".debug", idB},
		"of another build-id": {"../.dwz/x86_64/kernel", dwz, idA},
	} {
		h := newHost(t)
		file := good
		file.alt, file.altID = test.alt, idB
		h.put("usr/lib/debug/boot/vmlinux-"+rel, build(file))
		path := h.put(test.at, build(spec{id: test.id, dwarf: true}))
		r := h.find(h.want(), Options{Dirs: []string{h.path("given")}})
		if r.Best == nil {
			t.Fatalf("%s: nothing found", name)
		}
		again, err := New(h.want(), Options{Root: h.root, Dirs: []string{h.path("given")}}).Alt(context.Background(), r.Best.Path, r.Best.Found)
		if again != r.Best.AltPath || (err != nil) != (r.Best.AltErr != nil) {
			t.Errorf("%s: Alt() = %q, %v", name, again, err)
		}
		if test.id == idB {
			if r.Best.AltPath != path || r.Best.AltErr != nil {
				t.Errorf("%s: %q, %v", name, r.Best.AltPath, r.Best.AltErr)
			}
			continue
		}
		if err := r.Best.AltErr; err == nil || !strings.Contains(err.Error(), idA) || !strings.Contains(err.Error(), idB) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestModules(t *testing.T) {
	h := newHost(t)
	mod := func(id string, dwarf bool) []byte {
		return build(spec{id: id, dwarf: dwarf, symbols: true, release: rel, relocatable: true})
	}
	kernel := "lib/modules/" + rel + "/kernel/"
	plain := h.put(kernel+"drivers/net/virtio_net.ko.gz", zipped(mod(idA, false)))
	debug := h.put("usr/lib/debug/"+kernel+"drivers/net/virtio_net.ko.debug", mod(idA, true))
	one := h.put("lib/modules/"+rel+"/updates/twin.ko", mod(idA, true))
	h.put(kernel+"twin.ko", mod(idB, true))
	byID := h.put("usr/lib/debug/.build-id/bb/"+idB[2:]+".debug", mod(idB, true))
	beside := h.put("case/modules/sub/own-module.ko", mod(idA, true))
	h.put(kernel+"notdebug.ko", mod(idA, false))
	h.put(kernel+"old.ko", build(spec{dwarf: true, release: "5.0", relocatable: true}))
	f := New(h.want(), Options{Root: h.root})
	for _, test := range []struct {
		name, id, path string
		outcome        Outcome
		by             string
	}{
		{"virtio_net", idA, debug, Match, "build-id"},
		{"virtio-net", "", debug, Match, "release"},
		{"twin", idA, one, Match, "build-id"},
		{"twin", idB, byID, Match, "build-id"},
		{"own_module", "", beside, Match, "release"},
		{"notdebug", idA, h.path(kernel + "notdebug.ko"), NoDWARF, "build-id"},
		{"notdebug", "cc00000000000000000000000000000000000003", "", "", ""},
		{"old", "", "", "", ""},
		{"gone", "", "", "", ""},
	} {
		r, err := f.Module(context.Background(), test.name, test.id)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if test.path == "" {
			if r.Best != nil || len(r.Candidates) == 0 {
				t.Errorf("%s %s: %+v, %d candidates", test.name, test.id, r.Best, len(r.Candidates))
			}
			continue
		}
		if r.Best == nil || r.Best.Path != test.path || r.Best.Outcome != test.outcome || r.Best.By != test.by {
			t.Errorf("%s %s: %+v; want %s", test.name, test.id, r.Best, test.path)
		}
	}
	r, err := New(h.want(), Options{Root: h.root, All: true}).Module(context.Background(), "virtio_net", idA)
	if err != nil || r.at(plain).Outcome != NoDWARF {
		t.Errorf("the packed one: %+v, %v", r.at(plain), err)
	}
}

func TestCheap(t *testing.T) {
	h := newHost(t)
	for _, dir := range []string{"case", "boot", "usr/lib/debug", "lib/modules/" + rel, "usr/src"} {
		os.MkdirAll(h.path(dir), 0o755)
	}
	best := time.Hour
	for range 10 {
		start := time.Now()
		r := h.find(h.want(), Options{})
		best = min(best, time.Since(start))
		if r.Best != nil || len(r.Candidates) > 60 {
			t.Fatalf("%+v, %d candidates", r.Best, len(r.Candidates))
		}
	}
	if best > 2*time.Millisecond {
		t.Errorf("finding nothing takes %v; want at most 2 ms", best)
	}
}

func TestServers(t *testing.T) {
	serve := func(data []byte) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if data == nil || !strings.Contains(r.URL.Path, idA+"/debuginfo") {
				http.NotFound(w, r)
				return
			}
			w.Write(data)
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	h := newHost(t)
	h.put("boot/vmlinux-"+rel, build(spec{id: idA, symbols: true}))
	cache := h.path("cache")
	client := func(url string) *debuginfod.Client {
		return debuginfod.New(debuginfod.Config{URLs: strings.Fields(url), Cache: cache, Timeout: 5 * time.Second})
	}
	wrong := good
	wrong.id = idB
	r := h.find(h.want(), Options{Server: client(serve(build(wrong))), Download: true})
	if r.Best == nil || r.Best.Outcome != NoDWARF || r.Server == nil || !strings.Contains(r.Server.Error(), idB+", not "+idA) {
		t.Errorf("another build: %+v, %v", r.Best, r.Server)
	}
	url := serve(build(good))
	if r := h.find(h.want(), Options{Server: client(url)}); r.Best == nil || r.Best.Outcome != NoDWARF || r.Server != nil {
		t.Errorf("asked without Download: %+v, %v", r.Best, r.Server)
	}
	if r := h.find(h.want(), Options{Server: client(url), Download: true}); r.Best == nil || r.Best.Path != filepath.Join(cache, idA, "debuginfo") || r.Server != nil {
		t.Errorf("download: %+v, %v", r.Best, r.Server)
	}
	if r := h.find(h.want(), Options{Server: client("")}); r.Best == nil || r.Best.Outcome != Match {
		t.Errorf("from the cache: %+v, %v", r.Best, r.Server)
	}
	os.RemoveAll(cache)
	if r := h.find(h.want(), Options{Server: client(""), Download: true}); !errors.Is(r.Server, debuginfod.ErrNotConfigured) {
		t.Errorf("without servers: %v", r.Server)
	}
	if r := h.find(h.want(), Options{Server: client(serve(nil)), Download: true}); !errors.Is(r.Server, fs.ErrNotExist) {
		t.Errorf("absent: %v", r.Server)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := New(h.want(), Options{Root: h.root}).Kernel(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestBinutils: what objcopy and the linker make, rather than this package's tests.
func TestBinutils(t *testing.T) {
	for _, program := range []string{"gcc", "objcopy", "strip"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	h := newHost(t)
	src := h.put("a.c", []byte(fmt.Sprintf("const char linux_banner[] = \"%s\\n\"; int _start(void) { return linux_banner[0]; }\n", banner)))
	run := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v: %s", name, args, err, out)
		}
	}
	full, sep := h.path("full"), h.path("case/debug/vmlinux.sep")
	os.MkdirAll(filepath.Dir(sep), 0o755)
	run("gcc", "-g", "-nostdlib", "-static", "-Wl,--build-id=0x"+idA, "-o", full, src)
	run("objcopy", "--only-keep-debug", full, sep)
	stripped := h.path("case/debug/vmlinux")
	run("objcopy", "--strip-debug", "--add-gnu-debuglink="+sep, full, stripped)
	w := h.want()
	machine, err := identifyPath(full)
	if err != nil {
		t.Fatal(err)
	}
	w.Machine = machine.Machine
	r := h.find(w, Options{})
	if r.Best == nil || r.Best.Path != sep || r.at(stripped).Outcome != NoDWARF {
		t.Errorf("%+v", r.Best)
	}
	b, err := os.ReadFile(full)
	if err != nil {
		t.Fatal(err)
	}
	packed := h.put("case/vmlinux.gz", zipped(b))
	c, err := filecache.At(h.path("cache"), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	if r := h.find(w, Options{Unpack: unpack.Options{Cache: c}}); r.Best == nil || r.Best.Path != packed || r.Best.Unpacked == nil {
		t.Errorf("packed: %+v", r.Best)
	}
}
