package sysfs

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestDrivers(t *testing.T) {
	root := t.TempDir()
	pci := filepath.Join(root, "sys/devices/pci0000:00/0000:00:03.0")
	virtio := filepath.Join(pci, "virtio0")
	for _, dir := range []string{virtio, filepath.Join(root, "sys/bus/virtio_net"), filepath.Join(root, "sys/module/virtio_net")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{
		filepath.Join(virtio, "driver"):                      "../../../../bus/virtio_net",
		filepath.Join(root, "sys/bus/virtio_net/module"):     "../../module/virtio_net",
		filepath.Join(root, "sys/devices/pci0000:00/driver"): "nowhere",
	} {
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(pci, "modalias"), []byte("pci:v00001AF4\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	want := []string{"virtio_net", "pci:v00001AF4"}
	if got := Drivers(root, filepath.Join(Dir(root), "devices/pci0000:00/0000:00:03.0/virtio0")); !slices.Equal(got, want) {
		t.Errorf("Drivers = %q; want %q", got, want)
	}
	if got := Drivers(root, "/nowhere"); got != nil {
		t.Errorf("Drivers of no device = %q", got)
	}
	if got := Text(root, "nothing"); got != "" {
		t.Errorf("Text of no file = %q", got)
	}
}
