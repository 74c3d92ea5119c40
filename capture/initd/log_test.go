package initd

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestConsoles(t *testing.T) {
	for _, tt := range []struct {
		cmdline    string
		configured []string
		want       string
	}{
		{"console=tty0 quiet console=ttyS0,115200n8", nil, "tty0 ttyS0"},
		{"console=ttyS0 console=ttyS0,9600", nil, "ttyS0"},
		{"console=null console=ttynull console=uart8250,io,0x3f8 console=../x", nil, "console"},
		{"", nil, "console"},
		{"console=tty0", []string{"ttyS1,115200"}, "ttyS1"},
	} {
		if got := strings.Join(consoleNames(tt.cmdline, tt.configured), " "); got != tt.want {
			t.Errorf("%q, %q: %q; want %q", tt.cmdline, tt.configured, got, tt.want)
		}
	}
}

// TestNoConsole: where no device shows our lines, the kernel prints them.
func TestNoConsole(t *testing.T) {
	m := newMachine(t, "", nil)
	os.Remove(m.root + "/dev/ttyS0")
	_, log := m.run()
	if !strings.Contains(m.read("dev/kmsg"), "<5>kdx: ") || !strings.Contains(log, "a console that can't be opened") {
		t.Error(log)
	}
}

func TestKernelLog(t *testing.T) {
	records := []string{"6,1,1500000,-;hello\n SUBSYSTEM=x\n", "14,2,1600000,-;kdx: ours\n", "garbage", "4,3", "4;y", "4,4,2000001,-;bye"}
	i := 0
	out, err := kernelLines(readerFunc(func(p []byte) (int, error) {
		if i == 1 {
			i++
			return 0, unix.EPIPE
		}
		if i++; i > len(records) {
			return 0, nil
		}
		return copy(p, records[i-1]), nil
	}), 1000)
	if want := "[    1.500000] hello\n[    2.000001] bye\n"; err != nil || string(out) != want {
		t.Errorf("%q, %v; want %q", out, err, want)
	}
}

// TestJournal: lines are bounded, and so is the file.
func TestJournal(t *testing.T) {
	path := t.TempDir() + "/a/log"
	j := newJournal()
	j.say("early\nand more")
	if err := j.open(path); err != nil {
		t.Fatal(err)
	}
	for range 2000 {
		j.say("%s", strings.Repeat("ä", 1000))
	}
	b, err := os.ReadFile(path)
	if err != nil || len(b) > maxJournal+2*maxLine || !strings.Contains(string(b[:100]), "kdx: early") {
		t.Errorf("%d bytes, %v: %.100s", len(b), err, b)
	}
}

func FuzzKernelLog(f *testing.F) {
	f.Add("6,1,1500000,-;hello\n SUBSYSTEM=x\n", 100)
	f.Fuzz(func(t *testing.T, text string, limit int) {
		limit = min(max(limit, 1), 1<<16)
		i := 0
		out, err := kernelLines(readerFunc(func(p []byte) (int, error) {
			if i++; i > 20 {
				return 0, nil
			}
			return copy(p, text), nil
		}), limit)
		if err != nil || len(out) > 2*limit+len(text)*2+64 {
			t.Errorf("%d bytes, %v", len(out), err)
		}
	})
}
