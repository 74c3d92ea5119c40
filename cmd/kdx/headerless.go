package main

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"kdx/dumpfmt"
	"kdx/dumpfmt/formats"
)

// headerless is what a person says of a dump that says nothing of itself.
type headerless struct {
	raw      bool
	machine  string
	pageSize number
}

func (h *headerless) register(f *pflag.FlagSet) {
	f.BoolVar(&h.raw, "raw", false, "the dump is memory without a header, from physical address 0 on or as the map beside it says")
	f.StringVar(&h.machine, "machine", "", "the `MACHINE` that memory without a header is of, as uname -m says it (default x86_64)")
	f.Var(&h.pageSize, "page-size", "`BYTES` of its pages (default: what is usual on the machine)")
}

// into adds what was said to the options with which a dump is opened.
func (h *headerless) into(opt *formats.Options) error {
	opt.Raw, opt.Machine = h.raw, dumpfmt.Machine(h.machine)
	if h.machine != "" && !slices.Contains(dumpfmt.Machines, opt.Machine) {
		var names []string
		for _, m := range dumpfmt.Machines {
			names = append(names, string(m))
		}
		return usagef("--machine %s: kdx knows %s", h.machine, strings.Join(names, ", "))
	}
	if !h.pageSize.set {
		return nil
	}
	if h.pageSize.n < 0 || !dumpfmt.ValidPageSize(uint64(h.pageSize.n)) {
		return usagef("--page-size %d: no machine has such pages; say 4096, 16k or 64k", h.pageSize.n)
	}
	opt.PageSize = uint64(h.pageSize.n)
	return nil
}

// check refuses numbers for which there is no use, rather than to leave them out of account without a word.
func (h *headerless) check(paths []string) error {
	if h.machine == "" && !h.pageSize.set || h.raw {
		return nil
	}
	for _, p := range paths {
		if _, _, ok := formats.SplitAddress(p); ok {
			return nil
		}
	}
	return usagef("--machine and --page-size are for memory without a header: say --raw, too, or where it was (%s@ADDRESS)", paths[0])
}
