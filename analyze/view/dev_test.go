package view

import (
	"bytes"
	"strings"
	"testing"

	"kdx/analyze/vmem"
)

// TestPCIBridges: a bus below another one names that, and begins with the bridge that leads to it.
func TestPCIBridges(t *testing.T) {
	below := vmem.Addr(0x2000)
	l := PCIBuses{
		{Addr: 0x1000, Name: "0000:00", Devices: []PCIDevice{{Addr: 0x100, Name: "0000:00:01.0", Class: 0x060400, Vendor: 0x1b36, Device: 0xc, Type: "ROOT_PORT", Bridge: &below}}},
		{Addr: 0x2000, Name: "0000:01", Depth: 1, Devices: []PCIDevice{{Addr: 0x200, Name: "0000:01:00.0", Class: 0x010802, Vendor: 0x1b36, Device: 0x10, Type: "ENDPOINT"}}},
		{Addr: 0x3000, Name: "0000:07", Depth: 1}, // of a device that could not be read
	}
	var b bytes.Buffer
	if err := l.Text(&b, Options{}); err != nil {
		t.Fatal(err)
	}
	bridge := "  0000000000000100 0000:00:01.0  0604  1b36:000c  ROOT_PORT [BRIDGE]\n"
	for _, want := range []string{"  0000000000002000 0000000000001000 0000:01\n      PCI DEV      DO:BU:SL.FN  CLASS   PCI_ID      TYPE\n" + bridge, "  0000000000003000 -                0000:07\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestProcessors(t *testing.T) {
	n := 5
	for want, got := range map[string]string{"-": processors(nil, []int{3}), "5": processors(&n, nil), "5 [OFFLINE: 2]": processors(&n, []int{3, 4})} {
		if got != want {
			t.Errorf("processors = %q; want %q", got, want)
		}
	}
}
