package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"kdx/analyze"
	"kdx/dumpfmt/vmcoreinfo"
)

// where is what a person says of where the kernel is, if the dump does not.
type where struct {
	vmcoreinfo    string // a file
	kaslr, phys   number
	captureKernel bool
}

func (w *where) register(f *pflag.FlagSet) {
	f.StringVar(&w.vmcoreinfo, "vmcoreinfo", "", "take VMCOREINFO from this `FILE`: its text, or an ELF note")
	w.registerNumbers(f)
}

func (w *where) registerNumbers(f *pflag.FlagSet) {
	f.Var(&w.kaslr, "kaslr", "the kernel was moved by `OFFSET` bytes from where it was linked")
	f.Var(&w.phys, "phys-base", "the kernel's phys_base is `N`")
	f.BoolVar(&w.captureKernel, "capture-kernel", false, "of a guest that was dumped inside its capture kernel, show that one")
}

// bootstrap reads what is named.
func (w *where) bootstrap() (analyze.Bootstrap, error) {
	b := analyze.Bootstrap{CaptureKernel: w.captureKernel}
	if w.kaslr.set {
		u := uint64(w.kaslr.n)
		b.KASLR = &u
	}
	if w.phys.set {
		b.PhysBase = &w.phys.n
	}
	if w.vmcoreinfo == "" {
		return b, nil
	}
	f, err := os.Open(w.vmcoreinfo)
	if err != nil {
		return b, err
	}
	defer f.Close()
	const limit = 1 << 20 // the kernel writes a page
	text, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return b, err
	}
	if b.VMCoreInfo, err = vmcoreinfo.Decode(text); err != nil {
		return b, fmt.Errorf("--vmcoreinfo %s: %w", w.vmcoreinfo, err)
	}
	b.VMCoreInfoFrom = w.vmcoreinfo
	return b, nil
}

// number is the value of a flag: decimal or 0x…, negative or beyond 63 bits, which is the same in two's complement, and
// with k, m or g behind it.
type number struct {
	n   int64
	set bool
}

func (x *number) String() string {
	if !x.set {
		return ""
	}
	return fmt.Sprintf("%#x", x.n)
}

// Type names the value in help.
func (x *number) Type() string { return "N" }

// Set parses the value.
func (x *number) Set(text string) error {
	digits, shift := strings.ToLower(text), 0
	for i, unit := range []string{"k", "m", "g"} {
		if cut, ok := strings.CutSuffix(digits, unit); ok {
			digits, shift = cut, 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(digits, 0, 64)
	if err != nil {
		var u uint64
		if u, err = strconv.ParseUint(digits, 0, 64); err != nil {
			return fmt.Errorf("%q is no number such as 0x1f000000, -16777216 or 16m", text)
		}
		n = int64(u)
	}
	if shift > 0 && (n > math.MaxInt64>>shift || n < math.MinInt64>>shift) {
		return fmt.Errorf("%q is too large", text)
	}
	x.n, x.set = n<<shift, true
	return nil
}
