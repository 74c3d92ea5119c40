package plan

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"kdx/capture/config"
	"kdx/capture/network"
	"kdx/capture/storage"
)

func sample() *Plan {
	disk := &storage.Device{Kind: storage.Disk, Name: "nvme0n1", Size: 1 << 30, IDs: []storage.ID{{By: "wwid", Value: "eui.1"}}, Content: &storage.Content{Type: "ext4", UUID: "u"}}
	c := config.Default()
	c.Networks = []config.Network{{NIC: "eth0", Mode: "static", Address: netip.MustParsePrefix("192.0.2.7/24"), DNS: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}, {NIC: "eth1", Mode: "dhcp"}}
	c.Targets = []config.Target{{Kind: config.FS, FS: "ext4", Device: "/dev/nvme0n1", Path: "/dumps"}}
	return &Plan{
		Version: Version, Kdx: "devel", Host: "h", Release: "6.12.1", BuildID: "ab", Config: *c,
		Modules: []Module{{Name: "xfs", Path: "/kdx/modules/xfs.ko.xz", Params: "a=1", Optional: true}},
		Targets: []Target{
			{Target: c.Targets[0], Configured: "ext4:/dev/nvme0n1:/dumps", Device: disk, MountOptions: "nouuid"},
			{Target: config.Target{Kind: config.SFTP, User: "u", Host: "h", Port: 23, Path: "/d"}, Configured: "sftp://u@h:23/d", Addresses: []string{"192.0.2.1"}},
		},
		Links: []network.Link{{Kind: network.Physical, Name: "eth0", MAC: "52:54:00:12:34:56", Mode: network.DHCP}},
		Types: "/kdx/types",
	}
}

func TestRoundTrip(t *testing.T) {
	want := sample()
	b, err := want.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "plan.json")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
	again, err := got.Bytes()
	if err != nil || string(again) != string(b) {
		t.Errorf("another text the second time, %v", err)
	}
	if !got.NeedsNetwork() {
		t.Error("sftp needs no network")
	}
}

func TestRefused(t *testing.T) {
	for what, change := range map[string]func(m map[string]any){
		"unknown field":     func(m map[string]any) { m["x"] = 1 },
		"version 2":         func(m map[string]any) { m["version"] = 2 },
		"no target":         func(m map[string]any) { m["targets"] = []any{} },
		"clean absolute":    func(m map[string]any) { m["types"] = "../x" },
		"module xfs":        func(m map[string]any) { m["modules"].([]any)[0].(map[string]any)["path"] = "kdx/x" },
		"device is missing": func(m map[string]any) { delete(m["targets"].([]any)[0].(map[string]any), "device") },
		"no kind":           func(m map[string]any) { m["targets"].([]any)[0].(map[string]any)["Kind"] = "path" },
		"interface":         func(m map[string]any) { m["links"].([]any)[0].(map[string]any)["mac"] = "x" },
	} {
		b, err := sample().Bytes()
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		change(m)
		if b, err = json.Marshal(m); err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(b); err == nil || !strings.Contains(err.Error(), strings.Fields(what)[0]) {
			t.Errorf("%s: %v", what, err)
		}
	}
	b, _ := sample().Bytes()
	for what, text := range map[string]string{"after top-level": string(b) + "{}", "no plan": "", "longer": strings.Repeat(" ", maxSize+1)} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := Read(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "plan of this capture initrd") {
		t.Error(err)
	}
}

func FuzzPlan(f *testing.F) {
	b, err := sample().Bytes()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"version":1,"targets":[{"Kind":"fs","device":{"kind":"md"}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse(data)
		if err != nil {
			return
		}
		b, err := p.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(b); err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
	})
}
