//go:build linux

package kmod

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kdx/capture/kmod/kmodtest"
	"kdx/internal/treetest"
)

func TestLoad(t *testing.T) {
	data := kmodtest.Module("name=a")
	for _, c := range []struct {
		end, kernel, want string
	}{
		{"", "", "finit 0 x=1"},
		{"", "xz", "finit 0 x=1"},
		{".xz", "xz", "finit 4 x=1"},
		{".xz", "zstd", "init x=1"},
		{".zst", "", "init x=1"},
		{".gz", "", "init x=1"},
	} {
		got := ""
		l := &Loader{Compression: c.kernel,
			finit: func(_ int, params string, flags int) error {
				got = "finit " + map[int]string{0: "0", unix.MODULE_INIT_COMPRESSED_FILE: "4"}[flags] + " " + params
				return unix.EEXIST
			},
			init: func(image []byte, params string) error {
				if !bytes.Equal(image, data) {
					t.Errorf("%+v: another image", c)
				}
				got = "init " + params
				return nil
			}}
		if err := l.Load(treetest.Put(t, t.TempDir(), "a.ko"+c.end, packed(t, c.end, data)), "x=1"); err != nil || got != c.want {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
	}
}

func TestLoadRefused(t *testing.T) {
	for errno, word := range map[unix.Errno]string{unix.ENOEXEC: "another kernel", unix.EKEYREJECTED: "signature", unix.ENOENT: "symbol", unix.ENODEV: "no device"} {
		l := &Loader{finit: func(int, string, int) error { return errno }}
		err := l.Load(treetest.Put(t, t.TempDir(), "b-c.ko", kmodtest.Module("name=b_c")), "")
		if !errors.Is(err, errno) || !strings.Contains(err.Error(), word) || !strings.Contains(err.Error(), "b_c") {
			t.Errorf("%v: %v", errno, err)
		}
	}
	if NewLoader(t.TempDir()).Compression != "" {
		t.Error("a kernel that says nothing unpacks")
	}
}
