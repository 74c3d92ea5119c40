package describe_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"kdx/dumpfmt"
	"kdx/dumpfmt/describe"
	"kdx/dumpfmt/formats"
	"kdx/dumpfmt/internal/dumptest"
)

func describeBytes(t *testing.T, b []byte) *describe.Description {
	t.Helper()
	im, err := formats.Open(t.Context(), []string{dumptest.File(t, "vmcore", b)}, formats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	d, err := describe.Describe(t.Context(), im)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func small() *dumptest.Image { return dumptest.Small(binary.LittleEndian, 8, "x86_64", 62) }

func TestKdump(t *testing.T) {
	t.Setenv("TZ", "UTC")
	im := small()
	d := describeBytes(t, dumptest.Kdump{Version: 6, Codecs: []uint32{1, 2, 4, 0x20}, Status: 1, Erase: "erase a.b 4\n"}.Build(im))
	count := make(map[dumpfmt.PageState]int)
	for _, p := range im.Pages {
		count[p.State]++
	}
	var out strings.Builder
	if err := describe.Text(&out, d); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for _, want := range []string{
		"        FORMAT: kdump version 6, zlib\n",
		"    DUMP LEVEL: 1 (without zero pages)\n",
		"       MACHINE: x86_64, 64 bits, little endian, pages of 4096 bytes\n",
		"       RELEASE: 6.1.0-test\n",
		"      NODENAME: node\n",
		"      BUILD-ID: 00112233\n",
		"    VMCOREINFO: 6 entries\n",
		"        ERASED: erase a.b 4\n",
		fmt.Sprintf("         PAGES: %d present (", count[dumpfmt.Present]),
		fmt.Sprintf(" raw), %d zero, %d excluded\n", count[dumpfmt.Zero], count[dumpfmt.Excluded]),
		"          CPUS: 2 with notes\n",
		"CPU note 1, PID 78\n",
		"     RIP: 0000000000001010",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("text lacks %q:\n%s", want, text)
		}
	}
}

// TestJSONNames holds the names of the JSON form, which scripts rely on.
func TestJSONNames(t *testing.T) {
	b, err := json.Marshal(describeBytes(t, dumptest.Kdump{Version: 6, Codecs: []uint32{0}}.Build(small())))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields("format header_version files flattened incomplete truncated filtered distilled split written_by_qemu machine " +
		"byte_order word_bits page_size release nodename version banner build_id release_from embedded_config crash_time dump_time dump_level " +
		"compressions max_pfn memory ranges pages cpus vmcoreinfo warnings") {
		if _, ok := got[name]; !ok {
			t.Errorf("no %q in %s", name, b)
		}
	}
	pages := got["pages"].(map[string]any)
	for _, name := range []string{"present", "zero", "excluded", "zero_or_excluded", "missing"} {
		if _, ok := pages[name]; !ok {
			t.Errorf("no pages.%s", name)
		}
	}
	if got["distilled"] != nil || got["split"] != nil || got["crash_time"] != "2023-11-14T22:13:20Z" {
		t.Errorf("distilled %v, split %v, crash_time %v", got["distilled"], got["split"], got["crash_time"])
	}
	reg := got["cpus"].([]any)[0].(map[string]any)["registers"].([]any)[0].(map[string]any)
	if reg["name"] != "r15" || reg["value"] != "0x1000" {
		t.Errorf("first register is %v", reg)
	}
}

// TestSearch finds the release of a dump without VMCOREINFO in its memory, also over the edge of two pages.
func TestSearch(t *testing.T) {
	const banner = "Linux version 4.19.0-9-amd64 (user@host) (gcc version 8.3.0) #1 SMP Debian 4.19.118-2"
	uts := make([]byte, 6*65)
	for i, s := range []string{"Linux", "db-7", "4.19.0-9-amd64", "#1 SMP Debian 4.19.118-2", "x86_64", "(none)"} {
		copy(uts[i*65:], s)
	}
	build := func(put func(p map[uint64]dumptest.Page)) []byte {
		im := small()
		im.Notes = dumptest.Note(nil, im.Order, "CORE", 1, dumptest.PRStatus(im.Order, im.Word, 7))
		for _, pfn := range []uint64{0x1ff1, 0x1ff2} {
			im.Pages[pfn] = dumptest.Page{State: dumpfmt.Present, Data: make([]byte, 4096)}
		}
		put(im.Pages)
		return dumptest.ELF{}.Build(im)
	}
	for _, test := range []struct {
		name, release, from string
		put                 func(p map[uint64]dumptest.Page)
	}{
		{"nothing", "", "", func(map[uint64]dumptest.Page) {}},
		{"uname", "4.19.0-9-amd64", "uname in memory", func(p map[uint64]dumptest.Page) { copy(p[0x1ff1].Data[100:], uts) }},
		{"banner", "4.19.0-9-amd64", "banner in memory", func(p map[uint64]dumptest.Page) { copy(p[0x1ff2].Data[7:], banner+"\n") }},
		{"banner over two pages", "4.19.0-9-amd64", "banner in memory", func(p map[uint64]dumptest.Page) {
			n := copy(p[0x1ff1].Data[4096-30:], banner)
			copy(p[0x1ff2].Data, banner[n:]+"\n")
		}},
		{"a format string and a log line are no banners", "", "", func(p map[uint64]dumptest.Page) {
			copy(p[0x1ff1].Data[7:], "Linux version %s (%s)\n")
			copy(p[0x1ff1].Data[700:], banner)
		}},
	} {
		d := describeBytes(t, build(test.put))
		if d.Release != test.release || d.ReleaseFrom != test.from {
			t.Errorf("%s: release %q from %q; want %q from %q", test.name, d.Release, d.ReleaseFrom, test.release, test.from)
		}
	}
}

func TestSafe(t *testing.T) {
	if got := describe.Safe("a\x1b[31mb\u009bc\x7f"); got != "a?[31mb?c?" {
		t.Errorf("Safe() = %q", got)
	}
}
